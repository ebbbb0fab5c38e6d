// The bar that stays in sight: what there is, how far it has come, and what can be done with it.

import {button, count, duration, make, megabytes} from './dom.js';
import {FILTERS} from './list.js';

const DOWNLOADS = [
  ['csv', 'CSV', 'for spreadsheets'],
  ['jsonl', 'JSONL', 'a line for each photo'],
  ['sidecars', 'Text files', 'photo.txt for each photo, in a ZIP'],
  ['metadata', 'metadata.jsonl', 'for Hugging Face data sets'],
  ['coco', 'COCO results', 'to score captions'],
];
const NAMES = {all: 'All', edited: 'Edited', unsure: 'Unsure', empty: 'Empty', failed: 'Failed'};
const SAVING = {saved: 'Saved', waiting: 'Saving…', offline: 'Not saved: no connection', lost: 'Not on the server'};

export class Bar {
  /** `actions`: caption, stop, settings, add, change, remove, clear, undo, redo, download. */
  constructor(album, list, actions) {
    this.album = album;
    this.list = list;
    this.sum = make('p', {className: 'sum'});
    this.saving = make('p', {className: 'saving', role: 'status'});
    this.start = button('', () => actions.caption(this.waiting), {className: 'primary'});
    this.stop = button('Stop', actions.stop, {className: 'primary'});
    this.undo = button('Undo', actions.undo, {className: 'secondary', title: 'Ctrl+Z'});
    this.redo = button('Redo', actions.redo, {className: 'secondary', title: 'Ctrl+Shift+Z'});
    this.settings = button('Settings', actions.settings, {className: 'secondary'});
    this.change = button('Change captions…', actions.change, {className: 'secondary'});
    this.downloads = menu('Download', DOWNLOADS.map(([kind, name, use]) => [
      make('span', {}, make('strong', {}, name), ` ${use}`), () => actions.download(kind),
    ]));
    this.more = menu('More', [
      ['Add photos', () => actions.add()],
      ['Add a folder', () => actions.add({folder: true})],
      ['Remove all photos', actions.clear],
    ]);
    this.progress = make('progress', {'aria-label': 'Photos done'});
    this.pace = make('p', {className: 'pace', role: 'status'});
    this.running = make('div', {className: 'running'}, this.progress, this.pace);
    this.filters = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, filter(name, list)]));
    this.all = make('input', {type: 'checkbox', 'aria-label': 'Select all photos shown'});
    this.all.addEventListener('change', () => list.chooseAll(this.all.checked));
    this.chosen = make('span', {});
    this.remove = button('Remove', actions.remove, {className: 'secondary'});
    this.element = make('div', {className: 'photo-bar', role: 'region', 'aria-label': 'All photos'},
      make('div', {className: 'tools'}, this.start, this.stop, ...this.downloads, this.change,
        this.undo, this.redo, this.settings, ...this.more, this.saving),
      this.running,
      make('div', {className: 'which'},
        make('label', {className: 'pick-all'}, this.all, this.chosen), this.remove, this.sum,
        make('div', {className: 'filters', role: 'group', 'aria-label': 'Show'},
          ...Object.values(this.filters))));
    for (const event of ['change', 'saved']) album.addEventListener(event, () => this.draw());
    list.addEventListener('choice', () => this.draw());
    this.draw();
  }

  /** Ids of the photos that nobody has captioned yet. */
  get waiting() {
    return this.album.list.filter((row) => row.status === 'waiting' && row.photo).map((row) => row.id);
  }

  draw() {
    const {album, list, waiting} = this, rows = album.list;
    const size = rows.reduce((sum, row) => sum + row.size, 0);
    this.element.hidden = !rows.length;
    this.sum.textContent = count(rows.length, 'photo') + (size ? `, ${megabytes(size)}` : '');
    const done = rows.some((row) => !['waiting', 'failed'].includes(row.status));
    this.start.hidden = album.running;
    this.stop.hidden = !album.running;
    this.start.textContent = list.chosen.size ? `Caption ${list.chosen.size} selected`
      : !waiting.length ? 'Caption all again'
        : `Caption ${done ? 'the other ' : ''}${count(waiting.length, 'photo')}`;
    this.start.className = waiting.length ? 'primary' : 'secondary';
    this.start.disabled = !rows.some((row) => row.photo) || !album.token;
    this.running.hidden = !album.running;
    if (album.running) this.#drawProgress(album.run);
    this.undo.disabled = !album.undoable && album.saving === 'saved';
    this.redo.disabled = !album.redoable;
    this.change.disabled = !done;
    this.downloads[0].disabled = !done;
    for (const [name, each] of Object.entries(this.filters)) {
      each.textContent = `${NAMES[name]} ${rows.filter(FILTERS[name]).length}`;
      each.setAttribute('aria-pressed', String(list.filter === name));
    }
    const chosen = list.chosen.size;
    this.all.checked = chosen > 0 && chosen === list.shown.length;
    this.all.indeterminate = chosen > 0 && !this.all.checked;
    this.chosen.textContent = chosen ? `${chosen} selected` : 'Select all';
    this.remove.hidden = !chosen;
    this.saving.textContent = SAVING[album.saving];
    this.saving.dataset.state = album.saving;
  }

  #drawProgress({done, total, seconds}) {
    this.progress.max = Math.max(1, total);
    this.progress.value = done;
    const pace = done / seconds;
    this.pace.textContent = `${done} of ${count(total, 'photo')}` + (done < 3 ? ''
      : `, ${pace.toFixed(pace < 10 ? 1 : 0)} a second, ${duration((total - done) / pace)} left`);
  }
}

function filter(name, list) {
  return button('', () => list.show(name), {className: 'filter'});
}

/** A button and the menu that it opens. */
function menu(text, items) {
  const popup = make('div', {className: 'menu', popover: 'auto'},
    ...items.map(([label, act]) => button(label, () => {
      popup.hidePopover();
      act();
    })));
  const opener = button(text, null, {className: 'secondary', popoverTargetElement: popup});
  popup.addEventListener('beforetoggle', () => {
    const box = opener.getBoundingClientRect();
    popup.style.top = `${box.bottom + 6}px`;
    popup.style.left = `${Math.max(8, Math.min(box.left, innerWidth - 328))}px`;
  });
  popup.addEventListener('keydown', (event) => {
    const by = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (!by) return;
    event.preventDefault();
    const buttons = [...popup.children], here = buttons.indexOf(document.activeElement);
    buttons[(here + by + buttons.length) % buttons.length].focus();
  });
  return [opener, popup];
}
