// The list: which rows are shown, which are chosen, and how the keyboard goes through them.

import {make} from './dom.js';
import {RowView} from './row.js';

export const FILTERS = {
  all: () => true,
  edited: (row) => row.author === 'person' && row.status !== 'waiting',
  unsure: (row) => row.status === 'unsure',
  empty: (row) => row.status === 'empty',
  failed: (row) => row.status === 'failed',
};

/** Event "choice": other rows are shown or chosen. */
export class PhotoList extends EventTarget {
  element = make('ol', {className: 'photo-list', 'aria-label': 'Photos and their captions'});
  filter = 'all';
  chosen = new Set();
  #views = new Map();
  #shown = new Set();
  #lastChosen = null;

  constructor(album, enlarge) {
    super();
    this.album = album;
    this.actions = {
      enlarge,
      choose: (id, chosen, range) => this.#choose(id, chosen, range),
      move: (id, by) => this.focus(this.beside(id, by)),
    };
    album.addEventListener('change', ({detail}) => this.#update(detail));
  }

  /** Ids of the rows that the filter lets through, in their order. */
  get shown() {
    return this.album.order.filter((id) => this.#shown.has(id));
  }

  /** The rows that an action is about: those chosen or, if none is, those shown. */
  get meant() {
    const shown = this.shown;
    return this.chosen.size ? shown.filter((id) => this.chosen.has(id)) : shown;
  }

  show(filter) {
    this.filter = filter;
    this.#shown.clear();
    this.#sift(this.album.order);
    for (const id of this.chosen) if (!this.#shown.has(id)) this.#choose(id, false);
    this.dispatchEvent(new Event('choice'));
  }

  chooseAll(chosen) {
    for (const id of this.shown) this.#mark(id, chosen);
    this.dispatchEvent(new Event('choice'));
  }

  /** The shown row before or after another; undefined at the ends. */
  beside(id, by) {
    const shown = this.shown;
    return shown[shown.indexOf(id) + by];
  }

  /** Put the cursor behind a row's caption, and bring the row into sight. */
  focus(id) {
    const view = this.#views.get(id);
    if (!view) return;
    const place = view.field.hidden ? view.enlarge : view.field;
    place.focus({preventScroll: true});
    if (!view.field.hidden) view.field.setSelectionRange(view.field.value.length, view.field.value.length);
    view.element.scrollIntoView({block: 'nearest'});
  }

  #update({changed, order}) {
    if (order) {
      for (const [id, view] of this.#views) {
        if (this.album.rows.has(id)) continue;
        view.element.remove();
        this.#views.delete(id);
        this.#shown.delete(id);
        this.chosen.delete(id);
      }
    }
    const added = [];
    for (const id of order ? this.album.order : changed) {
      const view = this.#views.get(id);
      if (view) view.update(this.album.rows.get(id));
      else {
        this.#views.set(id, new RowView(this.album, id, this.actions));
        added.push(this.#views.get(id).element);
      }
    }
    this.element.append(...added);
    this.#sift(order ? this.album.order : changed);
  }

  /** Show the rows that the filter lets through. A row that no longer fits stays until the filter
   * is chosen again, so that nothing vanishes under the cursor. */
  #sift(ids) {
    for (const id of ids) {
      if (FILTERS[this.filter](this.album.rows.get(id))) this.#shown.add(id);
      this.#views.get(id).element.hidden = !this.#shown.has(id);
    }
  }

  #choose(id, chosen, range = false) {
    const shown = this.shown, last = shown.indexOf(this.#lastChosen), here = shown.indexOf(id);
    if (range && last >= 0) {
      const [from, to] = [Math.min(last, here), Math.max(last, here)];
      for (const each of shown.slice(from, to + 1)) this.#mark(each, chosen);
    } else this.#mark(id, chosen);
    this.#lastChosen = id;
    this.dispatchEvent(new Event('choice'));
  }

  #mark(id, chosen) {
    const view = this.#views.get(id);
    view.pick.checked = chosen;
    view.element.classList.toggle('chosen', chosen);
    if (chosen) this.chosen.add(id);
    else this.chosen.delete(id);
  }
}
