// One row: the photo, its caption to edit, and what became of it.

import {button, make, setPicture} from './dom.js';
import {captionField, setField} from './field.js';

const BADGES = {
  waiting: 'No caption yet',
  failed: 'Failed',
  empty: 'Empty',
  edited: 'Edited',
  given: 'From file',
  unsure: 'Unsure',
};

/** What became of a row, as elements: a badge, and how sure the model is of its own caption. */
export function state({status, confidence}) {
  const badge = make('span', {className: `badge ${status}`}, BADGES[status] ?? 'Captioned');
  if (confidence === null || !['ok', 'unsure'].includes(status)) return [badge];
  const sure = make('span', {className: 'sure'}, `${Math.round(100 * confidence)}% sure`);
  return status === 'ok' ? [sure] : [badge, sure];
}

/** A row of the album in a list, which chooses, enlarges and moves on. */
export class RowView {
  #album;

  constructor(album, id, list) {
    this.#album = album;
    this.pick = make('input', {type: 'checkbox'});
    this.pick.onclick = (event) => list.choose(id, this.pick.checked, event.shiftKey);
    this.image = make('img', {alt: '', loading: 'lazy', decoding: 'async'});
    this.image.onload = () => this.#lacksPhoto(false);
    this.image.onerror = () => this.#lacksPhoto(true);
    this.enlarge = button(this.image, () => list.enlarge(id), {className: 'thumbnail without'});
    this.field = captionField(album, () => id, (by) => list.move(id, by));
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
    this.pick.ariaLabel = `Select ${row.name}`;
    this.enlarge.ariaLabel = `Show ${row.name} large`;
    this.field.ariaLabel = `Caption of ${row.name}`;
    this.name.textContent = row.name;
    const address = this.#album.picture(row, 'small');
    if (address !== this.image.getAttribute('src')) this.#lacksPhoto(!address);
    setPicture(this.image, address);
    setField(this.field, row.caption);
    this.field.hidden = row.status === 'failed';
    this.field.placeholder = row.status === 'empty' ? 'This caption is empty' : 'No caption yet';
    this.reason.textContent = row.error;
    this.reason.hidden = !row.error;
    this.element.dataset.status = row.status;
    this.state.replaceChildren(...state(row));
  }

  #lacksPhoto(lacking) {
    this.enlarge.classList.toggle('without', lacking);
  }
}
