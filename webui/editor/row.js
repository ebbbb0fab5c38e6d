// One row: the photo, its caption to edit, and what became of it.

import {button, make} from './dom.js';
import {captionField, setField} from './field.js';

const BADGES = {
  waiting: 'Waiting',
  failed: 'Failed',
  empty: 'Empty',
  edited: 'Edited',
  given: 'From file',
  unsure: 'Unsure',
  ok: 'Captioned',
};

const CARDS = matchMedia('(max-width: 640px)'); // as in editor.css

/** What became of a row, as elements: a badge, and how sure the model is of its own caption. */
export function state(row) {
  const badge = make('span', {className: `badge ${row.status}`}, BADGES[row.status]);
  if (row.confidence === null || !['ok', 'unsure'].includes(row.status)) return [badge];
  const sure = make('span', {className: 'sure'}, `${Math.round(100 * row.confidence)}% sure`);
  return row.status === 'ok' ? [sure] : [badge, sure];
}

/** `actions`: choose(id, chosen, range), enlarge(id), move(id, by). */
export class RowView {
  #album;
  #shown = {};
  #token;

  constructor(album, id, actions) {
    this.#album = album;
    this.pick = make('input', {type: 'checkbox'});
    this.pick.addEventListener('click', (event) =>
      actions.choose(id, this.pick.checked, event.shiftKey));
    this.image = make('img', {alt: '', loading: 'lazy', decoding: 'async'});
    this.enlarge = button(this.image, () => actions.enlarge(id), {className: 'thumbnail'});
    for (const event of ['load', 'error']) {
      this.image.addEventListener(event, () => this.#lacksPhoto(event === 'error'));
    }
    this.field = captionField(album, () => id, (by) => actions.move(id, by));
    this.name = make('p', {className: 'name'});
    this.reason = make('p', {className: 'reason'});
    this.state = make('p', {className: 'state'});
    this.element = make(
      'li',
      {className: 'photo-row'},
      make('label', {className: 'pick'}, this.pick),
      this.enlarge,
      make('div', {className: 'words'}, this.field, this.reason, this.name),
      this.state,
    );
    this.element.dataset.id = id;
    this.update(album.rows.get(id));
  }

  update(row) {
    if (row.name !== this.#shown.name) {
      this.pick.ariaLabel = `Select ${row.name}`;
      this.enlarge.ariaLabel = `Show ${row.name} large`;
      this.field.ariaLabel = `Caption of ${row.name}`;
      this.name.textContent = row.name;
    }
    const {token} = this.#album;
    if (row.photo !== this.#shown.photo || token !== this.#token) {
      this.#token = token;
      const size = CARDS.matches ? 'card' : 'small';
      if (row.photo && token) this.image.src = this.#album.picture(row.id, size);
      else this.image.removeAttribute('src');
      this.#lacksPhoto(!row.photo || !token);
    }
    setField(this.field, row.caption);
    this.field.hidden = row.status === 'failed';
    this.field.placeholder = row.status === 'empty' ? 'This caption is empty' : 'No caption yet';
    this.reason.textContent = row.error;
    this.reason.hidden = !row.error;
    if (row.status !== this.#shown.status || row.confidence !== this.#shown.confidence) {
      this.element.dataset.status = row.status;
      this.state.replaceChildren(...state(row));
    }
    this.#shown = row;
  }

  #lacksPhoto(lacking) {
    this.enlarge.classList.toggle('without', lacking);
  }
}
