// The rows as the page knows them. They live on the server; what is typed goes there at once.

import {get, Gone, Offline, post, Problem, upload} from './server.js';

const TYPING = 50; // ms without a key, after which what was typed is sent
const WATCH_RUN = 400, WATCH_IDLE = 45_000, RETRY = 2_000; // ms

/** Events: "change" (detail: {changed, order}), "trouble" (detail: message), "saved", "gone". */
export class Album extends EventTarget {
  rows = new Map(); // by id, in no order
  order = []; // ids
  run = null;
  undoable = false;
  redoable = false;
  saving = 'saved'; // saved, waiting, offline, lost
  token = null;
  #version = 0;
  #unsent = new Map(); // what was typed, by row: id -> {id, text, step}
  #line = Promise.resolve();
  #typing;
  #watching;

  get list() {
    return this.order.map((id) => this.rows.get(id));
  }

  /** Ids of the photos that nobody has captioned yet. */
  get waiting() {
    return this.list.filter((row) => row.status === 'waiting' && row.photo).map((row) => row.id);
  }

  get running() {
    return Boolean(this.run && !this.run.ended);
  }

  /** Take up the rows of a token; throws Gone if the server has them no more. */
  async open(token) {
    this.token = token;
    this.#take(await post(`photos/${token}/changes`, {since: 0}));
    this.#watch();
  }

  /** Rows without a server, so that they can be seen until somebody decides what becomes of them. */
  show(rows) {
    this.#take({rows, order: rows.map((row) => row.id), version: 0, run: null});
  }

  /** A new album on the server, with these rows. */
  async begin(rows = []) {
    const state = await post('photos/new', {rows});
    this.token = state.token;
    this.#version = 0;
    this.#unsent.clear();
    this.#saves('saved');
    this.#take(state);
    this.#watch();
  }

  /** Forget rows that the server no longer has. */
  forget() {
    this.#unsent.clear();
    this.#saves('saved');
    this.show([]);
  }

  /** Upload files, [{file, name}], and add them; gives {notes, repeated}: sentences about what has no
   * row, and the ids of photos that were in the list already. */
  async add(files, progress) {
    if (!this.token && this.order.length) throw new Problem('Decide first what becomes of the captions.');
    if (!this.token) await this.begin();
    const paths = await upload(files, progress);
    const sent = paths.map((path, index) => ({path, orig_name: files[index].name}));
    return this.#act('add', {files: sent});
  }

  /** Note what was typed; it is sent when the typing pauses. */
  edit(id, text, step) {
    this.#unsent.set(id, {id, text, step});
    const status = text.trim() ? 'edited' : 'empty', typed = {caption: text, author: 'person'};
    this.rows.set(id, {...this.rows.get(id), ...typed, status, confidence: null});
    this.#saves('waiting');
    this.#tell([id]);
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.flush().catch(() => {}), TYPING);
  }

  /** Change several captions as one step: {id: text}. */
  async editMany(texts) {
    await this.flush();
    const edits = Object.entries(texts).map(([id, text]) => ({id: Number(id), text}));
    await this.#act('edit', {edits, step: newStep()});
  }

  /** Send what was typed; resolves once the server has it. */
  flush() {
    clearTimeout(this.#typing);
    return this.#inLine(() => this.#send());
  }

  /** Send what was typed while the page closes. */
  leave() {
    if (!this.token) return;
    for (const [step, edits] of this.#steps()) {
      const body = {edits, step, since: this.#version};
      post(`photos/${this.token}/edit`, body, {leaving: true}).catch(() => {});
    }
  }

  undo = () => this.flush().then(() => this.#act('undo'));
  redo = () => this.flush().then(() => this.#act('redo'));
  remove = (ids) => this.flush().then(() => this.#act('remove', {ids}));
  stop = () => this.#act('stop');

  /** Have photos captioned. With `replace`, captions that a person wrote are replaced too. */
  async caption(ids, replace) {
    await this.flush();
    await this.#act('run', {ids, replace, settings: globalThis.captionSettings});
    this.#watch();
  }

  /** A file of all captions, with everything that was typed. */
  async download(kind) {
    await this.flush();
    return this.#guarded(() => get(`photos/${this.token}/download/${kind}`));
  }

  /** The address of a row's photo, or null. */
  picture({id, photo}, size) {
    return photo && this.token ? `photos/${this.token}/${size}/${id}` : null;
  }

  /** Until nothing is left; more may be typed meanwhile. */
  async #send() {
    if (!this.#unsent.size) return;
    while (this.#unsent.size) {
      for (const [step, edits] of this.#steps()) {
        const state = await this.#ask('edit', {edits, step});
        for (const edit of edits) {
          if (this.#unsent.get(edit.id) === edit) this.#unsent.delete(edit.id);
        }
        this.#take(state);
      }
    }
    this.#saves('saved');
  }

  #steps() {
    return Map.groupBy(this.#unsent.values(), ({step}) => step);
  }

  /** Ask the server for something, after what was asked before, and show what has changed. */
  #act(action, body = {}) {
    return this.#inLine(async () => {
      const state = await this.#ask(action, body);
      this.#take(state);
      return state;
    });
  }

  #ask(action, body) {
    return this.#guarded(() =>
      post(`photos/${this.token}/${action}`, {...body, since: this.#version}));
  }

  /** Note whether the server could be reached, and whether it still has the photos. */
  async #guarded(request) {
    if (!this.token) {
      this.#saves('lost');
      throw new Problem('The photos are no longer on the server.');
    }
    try {
      const answer = await request();
      if (this.saving === 'offline') this.#saves(this.#unsent.size ? 'waiting' : 'saved');
      return answer;
    } catch (error) {
      if (error instanceof Offline) {
        this.#saves('offline');
        this.#watch(RETRY);
      } else if (error instanceof Gone) {
        this.token = null;
        clearTimeout(this.#watching);
        this.#saves('lost');
        this.dispatchEvent(new Event('gone'));
      }
      throw error;
    }
  }

  #inLine(work) {
    const done = this.#line.then(work);
    this.#line = done.catch(() => {});
    return done;
  }

  /** Look again and again at what has changed, often while photos are being captioned. */
  #watch(wait = this.running ? WATCH_RUN : WATCH_IDLE) {
    clearTimeout(this.#watching);
    this.#watching = setTimeout(async () => {
      await this.flush().then(() => this.#act('changes')).catch(() => {});
      if (this.token && this.saving !== 'offline') this.#watch();
    }, wait);
  }

  #take(state) {
    for (const row of state.rows) {
      const typed = this.#unsent.get(row.id);
      this.rows.set(row.id, typed ? {...row, caption: typed.text, author: 'person'} : row);
    }
    if (state.order) {
      const kept = new Set(state.order);
      for (const id of this.rows.keys()) if (!kept.has(id)) this.rows.delete(id);
      this.order = state.order;
    }
    this.#version = state.version;
    const running = this.running;
    Object.assign(this, {run: state.run, undoable: state.undo, redoable: state.redo});
    this.#tell(state.rows.map((row) => row.id), Boolean(state.order));
    if (running && !this.running && this.run?.problem) {
      this.dispatchEvent(new CustomEvent('trouble', {detail: this.run.problem}));
    }
  }

  #tell(changed, order = false) {
    this.dispatchEvent(new CustomEvent('change', {detail: {changed, order}}));
  }

  #saves(state) {
    this.saving = state;
    this.dispatchEvent(new Event('saved'));
  }
}

/** A name for edits that are undone together. */
export function newStep() {
  return `${Date.now()}-${Math.random()}`;
}
