// The list: which rows are shown, which are chosen, and how the keyboard goes through them.

import {make} from './dom.js';
import {enter} from './field.js';
import {RowView} from './row.js';

export const FILTERS = {
  All: () => true,
  Edited: (row) => row.author === 'person' && row.status !== 'waiting',
  Unsure: (row) => row.status === 'unsure',
  Empty: (row) => ['waiting', 'empty'].includes(row.status),
  Failed: (row) => row.status === 'failed',
};

/** Event "choice": other rows are shown or chosen. */
export class PhotoList extends EventTarget {
  element = make('ol', {className: 'photo-list', 'aria-label': 'Photos and their captions'});
  filter = 'All';
  chosen = new Set();
  #views = new Map();
  #shown = new Set();
  #lastChosen = null;

  constructor(album, enlarge) {
    super();
    Object.assign(this, {album, enlarge});
    album.addEventListener('change', ({detail}) => this.#update(detail));
  }

  /** Ids of the rows that the filter lets through, in their order. */
  get shown() {
    return this.album.order.filter((id) => this.#shown.has(id));
  }

  /** The rows that an action is about: those chosen or, if none is, those shown. */
  get meant() {
    const {shown, chosen} = this;
    return chosen.size ? shown.filter((id) => chosen.has(id)) : shown;
  }

  show(filter) {
    this.filter = filter;
    this.#shown.clear();
    this.#sift(this.album.order);
    this.#mark([...this.chosen].filter((id) => !this.#shown.has(id)), false);
  }

  chooseAll(chosen) {
    this.#mark(this.shown, chosen);
  }

  /** The shown row before or after another; undefined at the ends. */
  beside(id, by) {
    const {shown} = this;
    return shown[shown.indexOf(id) + by];
  }

  move(id, by) {
    this.focus(this.beside(id, by));
  }

  /** Put the cursor behind a row's caption, and bring the row into sight. */
  focus(id) {
    const view = this.#views.get(id);
    if (!view) return;
    if (view.field.hidden) view.enlarge.focus({preventScroll: true});
    else enter(view.field);
    view.element.scrollIntoView({block: 'nearest'});
  }

  #update({changed, order}) {
    const {rows} = this.album;
    for (const id of order ? this.#views.keys() : []) if (!rows.has(id)) this.#drop(id);
    const ids = order ? this.album.order : changed;
    for (const id of ids) {
      const view = this.#views.get(id);
      if (view) view.update(rows.get(id));
      else this.#draw(id);
    }
    this.#sift(ids);
  }

  #draw(id) {
    const view = new RowView(this.album, id, this);
    this.#views.set(id, view);
    this.element.append(view.element);
  }

  #drop(id) {
    this.#views.get(id).element.remove();
    for (const those of [this.#views, this.#shown, this.chosen]) those.delete(id);
  }

  /** Show the rows that the filter lets through. A row that no longer fits stays until the filter
   * is chosen again, so that nothing vanishes under the cursor. */
  #sift(ids) {
    for (const id of ids) {
      if (FILTERS[this.filter](this.album.rows.get(id))) this.#shown.add(id);
      this.#views.get(id).element.hidden = !this.#shown.has(id);
    }
  }

  /** Choose a row or, as a range, all from the one chosen last. */
  choose(id, chosen, range) {
    const {shown} = this;
    const ends = [shown.indexOf(id), shown.indexOf(this.#lastChosen)];
    if (range && ends[1] >= 0) this.#mark(shown.slice(Math.min(...ends), Math.max(...ends) + 1), chosen);
    else this.#mark([id], chosen);
    this.#lastChosen = id;
  }

  #mark(ids, chosen) {
    for (const id of ids) {
      const view = this.#views.get(id);
      view.pick.checked = chosen;
      view.element.classList.toggle('chosen', chosen);
      if (chosen) this.chosen.add(id);
      else this.chosen.delete(id);
    }
    this.dispatchEvent(new Event('choice'));
  }
}
