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
const UNDO = '<path d="M4 8h8a4.5 4.5 0 0 1 0 9H8M8 4 4 8l4 4"/>';
const REDO = '<path d="M16 8H8a4.5 4.5 0 0 0 0 9h4M12 4l4 4-4 4"/>';
const MORE = '<path d="M4 10h.01M10 10h.01M16 10h.01"/>';
const SAVING = {
  saved: 'Saved',
  waiting: 'Saving…',
  offline: 'Not saved: no connection',
  lost: 'Not on the server',
};

export class Bar {
  /** `actions`: caption, stop, add, change, remove, clear, undo, redo, download. */
  constructor(album, list, actions) {
    this.album = album;
    this.list = list;
    this.start = button('', actions.caption);
    this.stop = button('Stop', actions.stop, {className: 'primary'});
    this.undo = button(signed('Undo', UNDO), actions.undo, {title: 'Undo (Ctrl+Z)'});
    this.redo = button(signed('Redo', REDO), actions.redo, {title: 'Redo (Ctrl+Shift+Z)'});
    this.change = button('Change captions…', actions.change, {className: 'secondary roomy'});
    this.download = button('Download');
    const downloads = menu(this.download, DOWNLOADS.map(([kind, name, use]) => [
      make('span', {}, make('strong', {}, name), ` ${use}`), () => actions.download(kind),
    ]));
    const more = button(signed('More', MORE)), settings = button('Settings', null, {className: 'secondary roomy'});
    const panel = document.querySelector('#photo-settings'); // which Gradio draws
    const others = menu(more, [
      ['Change captions…', actions.change, 'narrow'],
      ['Settings', () => panel.showPopover({source: more}), 'narrow'],
      ['Add photos', () => actions.add()],
      ['Add a folder', () => actions.add({folder: true})],
      ['Remove all photos', actions.clear, 'danger'],
    ]);
    opens(settings, panel, more);
    this.saving = make('p', {className: 'saving', role: 'status'});
    this.progress = make('progress', {'aria-label': 'Photos done'});
    this.pace = make('p', {className: 'pace', role: 'status'});
    this.running = make('div', {className: 'running'}, this.progress, this.pace);
    this.all = make('input', {type: 'checkbox', 'aria-label': 'Select all photos shown'});
    this.all.onchange = () => list.chooseAll(this.all.checked);
    this.chosen = make('span');
    this.remove = button('Remove', actions.remove, {className: 'secondary danger'});
    this.sum = make('p', {className: 'sum'});
    this.filters = Object.keys(FILTERS).map((name) =>
      button(name, () => list.show(name), {className: 'filter', name}));
    const {unsure} = document.querySelector('.photo-editor').dataset;
    this.unsure = make('p', {className: 'unsure-means'}, `Unsure: less than ${unsure} sure`);
    this.element = make('div', {className: 'photo-bar', role: 'region', 'aria-label': 'All photos'},
      make('div', {className: 'tools'}, this.start, this.stop, this.download, downloads,
        this.change, this.undo, this.redo, settings, more, others),
      this.running,
      make('div', {className: 'which'},
        make('label', {className: 'pick-all'}, this.all, this.chosen), this.remove, this.sum, this.saving,
        this.unsure,
        make('div', {className: 'filters', role: 'group', 'aria-label': 'Show'}, ...this.filters)));
    for (const event of ['change', 'saved']) album.addEventListener(event, () => this.draw());
    list.addEventListener('choice', () => this.draw());
    this.draw();
  }

  draw() {
    const {album} = this, rows = album.list;
    const size = rows.reduce((sum, row) => sum + row.size, 0);
    const done = rows.some((row) => !['waiting', 'failed'].includes(row.status));
    this.element.hidden = !rows.length;
    this.sum.textContent = count(rows.length, 'photo') + (size ? `, ${megabytes(size)}` : '');
    this.start.hidden = album.running;
    this.stop.hidden = this.running.hidden = !album.running;
    if (album.running) this.#drawProgress(album.run);
    else this.#drawStart(rows, done);
    this.undo.disabled = !album.undoable && album.saving === 'saved';
    this.redo.disabled = !album.redoable;
    this.change.disabled = this.download.disabled = !done;
    this.saving.textContent = SAVING[album.saving];
    this.saving.dataset.state = album.saving;
    this.#drawChoice(rows);
  }

  #drawStart(rows, done) {
    const chosen = this.list.chosen.size, waiting = this.album.waiting.length;
    const others = done && waiting === 1 ? 'the other photo'
      : `${done ? 'the other ' : ''}${count(waiting, 'photo')}`;
    this.start.textContent = chosen ? `Caption ${chosen} selected`
      : waiting ? `Caption ${others}` : 'Caption all again';
    this.start.className = waiting ? 'primary' : 'secondary';
    this.start.disabled = !this.album.token || !rows.some((row) => row.photo);
  }

  #drawProgress({done, total, seconds}) {
    this.progress.max = Math.max(1, total);
    this.progress.value = done;
    const pace = done / seconds;
    this.pace.textContent = `${done} of ${count(total, 'photo')}` + (done < 3 ? ''
      : `, ${pace.toFixed(pace < 10 ? 1 : 0)} a second, ${duration((total - done) / pace)} left`);
  }

  #drawChoice(rows) {
    const chosen = this.list.chosen.size;
    this.all.checked = chosen > 0 && chosen === this.list.shown.length;
    this.all.indeterminate = chosen > 0 && !this.all.checked;
    this.chosen.textContent = chosen ? `${chosen} selected` : 'Select all';
    this.remove.hidden = !chosen;
    this.unsure.hidden = !rows.some(FILTERS.Unsure);
    for (const each of this.filters) {
      each.textContent = `${each.name} ${rows.filter(FILTERS[each.name]).length}`;
      each.ariaPressed = String(each.name === this.list.filter);
    }
  }
}

/** A button's word and, where there is no room for words, its sign. */
function signed(word, drawing) {
  const sign = make('span', {className: 'sign', 'aria-hidden': 'true'});
  sign.innerHTML = `<svg viewBox="0 0 20 20" width="20" height="20">${drawing}</svg>`;
  return make('span', {}, sign, make('span', {className: 'word'}, word));
}

/** Have a button open and close a panel below it, or below another where it is not shown itself. */
function opens(opener, panel, other = opener) {
  panel.popover = 'auto';
  opener.popoverTargetElement = panel;
  panel.addEventListener('beforetoggle', () => {
    const {left, bottom} = (opener.checkVisibility() ? opener : other).getBoundingClientRect();
    panel.style.setProperty('--left', `${left}px`);
    panel.style.setProperty('--top', `${bottom + 6}px`);
  });
}

/** The menu that a button opens. `items`: [label, action, class] each. */
function menu(opener, items) {
  const buttons = items.map(([label, act, className = '']) => button(label, () => {
    popup.hidePopover();
    act();
  }, {className}));
  const popup = make('div', {className: 'menu'}, ...buttons);
  opens(opener, popup);
  popup.addEventListener('keydown', (event) => {
    const by = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (!by) return;
    event.preventDefault();
    const there = buttons.filter((each) => each.checkVisibility());
    const here = there.indexOf(document.activeElement);
    there.at((here + by) % there.length).focus();
  });
  return popup;
}
