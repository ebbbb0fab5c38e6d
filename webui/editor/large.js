// The photo large, with its caption, and the way to the next.

import {button, make, setPicture} from './dom.js';
import {captionField, enter, setField} from './field.js';
import {state} from './row.js';

export class LargePhoto {
  #id = null;

  constructor(root, album, list) {
    this.album = album;
    this.list = list;
    this.picture = make('img');
    this.missing = make('p', {className: 'help'});
    this.field = captionField(album, () => this.#id, (by) => this.go(by));
    this.place = make('p', {className: 'place', role: 'status'});
    this.state = make('p', {className: 'state'});
    this.back = button('Previous', () => this.go(-1));
    this.next = button('Next', () => this.go(1));
    const close = button('Close', () => this.dialog.close());
    const keys = make('p', {className: 'help keys'},
      'Enter or Page Down: next photo. Shift+Enter or Page Up: previous. Esc: close.');
    this.dialog = make('dialog', {className: 'large', 'aria-label': 'Photo and caption'},
      make('div', {className: 'top'}, this.place, this.state,
        make('div', {className: 'answers'}, this.back, this.next, close)),
      make('div', {className: 'frame'}, this.picture, this.missing), this.field, keys);
    this.dialog.addEventListener('keydown', (event) => this.#key(event));
    this.dialog.addEventListener('close', () => this.list.focus(this.#id));
    album.addEventListener('change', () => this.dialog.open && this.#draw());
    root.append(this.dialog);
  }

  show(id) {
    this.#id = id;
    this.#draw();
    if (!this.dialog.open) this.dialog.showModal();
    if (this.field.hidden) return;
    enter(this.field);
    this.field.dispatchEvent(new Event('refresh'));
  }

  go(by) {
    const id = this.list.beside(this.#id, by);
    if (id === undefined) return;
    this.album.flush().catch(() => {});
    this.show(id);
  }

  #key(event) {
    const by = {PageDown: 1, PageUp: -1}[event.key]
      ?? (event.target === this.field ? undefined : {ArrowRight: 1, ArrowLeft: -1}[event.key]);
    if (!by) return;
    event.preventDefault();
    this.go(by);
  }

  #draw() {
    const row = this.album.rows.get(this.#id);
    if (!row) return this.dialog.close();
    const {shown} = this.list, address = this.album.picture(row, 'large');
    setPicture(this.picture, address);
    this.picture.hidden = !address;
    this.picture.alt = row.caption || row.name;
    this.missing.hidden = Boolean(address);
    this.missing.textContent = row.error || 'The photo is no longer on the server.';
    setField(this.field, row.caption);
    this.field.ariaLabel = `Caption of ${row.name}`;
    this.field.hidden = row.status === 'failed';
    this.place.textContent = `${shown.indexOf(row.id) + 1} of ${shown.length}: ${row.name}`;
    this.state.replaceChildren(...state(row));
    this.back.disabled = this.list.beside(row.id, -1) === undefined;
    this.next.disabled = this.list.beside(row.id, 1) === undefined;
  }
}
