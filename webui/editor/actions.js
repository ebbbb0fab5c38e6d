// What can be done with the photos, and the questions that come before.

import {ask, changeMany} from './dialogs.js';
import {count, make} from './dom.js';
import {groups} from './uploads.js';

const NAMED = 5; // photos in one sentence
const BY_HAND = ['waiting', 'failed', 'empty']; // states without a caption to change

export class Actions {
  /** `tell`: says a sentence above the list. */
  constructor(root, album, list, tell) {
    Object.assign(this, {root, album, list, tell});
  }

  async add(files) {
    const total = files.length;
    const repeated = [];
    let done = 0, notes = [];
    for (const group of groups(files)) {
      const size = group.reduce((sum, {file}) => sum + file.size, 0);
      const added = await this.album.add(group, (sent) => {
        const share = total > 1 ? '' : `: ${Math.min(100, Math.round(100 * sent / size))}%`;
        this.tell(`Sending ${Math.min(total, done + 1)} of ${count(total, 'file')}${share}`);
      });
      done += group.length;
      notes = added.notes; // the last ones are about all files
      repeated.push(...added.repeated);
    }
    this.tell(notes.join(' '));
    await this.#sift(repeated);
  }

  /** Ask what becomes of photos that were in the list already. */
  async #sift(repeated) {
    const ids = repeated.filter((id) => this.album.rows.has(id)); // one may have been removed
    if (!ids.length) return;
    const one = ids.length === 1, names = ids.map((id) => this.album.rows.get(id).name);
    const listed = names.slice(0, NAMED).join(', ') + (names.length > NAMED ? ', …' : '');
    const title = one ? 'This photo is in the list already' : `${ids.length} of these photos are in the list already`;
    const answers = [[one ? 'Skip it' : `Skip these ${ids.length}`, 'skip'],
      [one ? 'Keep it too' : 'Keep them too', 'keep']];
    if (await ask(this.root, title, listed, answers, {cancels: false}) === 'skip') await this.album.remove(ids);
  }

  /** Caption the photos that have no caption yet or, if some are selected or all have one, those. */
  caption() {
    const {album, list} = this;
    if (album.waiting.length && !list.chosen.size) return album.caption(album.waiting, false);
    return this.#captionAgain(this.#meant.filter((row) => row.photo));
  }

  async #captionAgain(rows) {
    const ids = rows.map((row) => row.id);
    const yours = rows.filter((row) => row.author !== 'model').length, others = rows.length - yours;
    if (!yours) return this.album.caption(ids, false);
    const answers = [[`Replace ${count(rows.length, 'caption')}`, 'all']];
    if (others) {
      answers.unshift([`Keep mine, caption the ${others > 1 ? `other ${others}` : 'other one'}`, 'others']);
    }
    const title = yours === 1 ? 'One caption is yours' : `${yours} captions are yours`;
    const text = `${yours} of the ${count(rows.length, 'caption')} ${yours === 1 ? 'was' : 'were'} written`
      + ` by you or came with the ${yours === 1 ? 'photo' : 'photos'}. Undo brings back what is replaced.`;
    const answer = await ask(this.root, title, text, answers);
    if (answer) await this.album.caption(ids, answer === 'all');
  }

  async change() {
    const rows = this.#meant.filter((row) => !BY_HAND.includes(row.status));
    const whose = this.list.chosen.size ? 'selected' : 'shown';
    if (!rows.length) return this.tell('There are no captions here to change.');
    const texts = await changeMany(this.root, rows, whose);
    if (!texts) return;
    await this.album.editMany(texts);
    this.tell(`${count(Object.keys(texts).length, 'caption')} changed. Undo changes them back.`);
  }

  async remove(ids) {
    const photos = count(ids.length, 'photo');
    const own = ids.filter((id) => {
      const {author, caption} = this.album.rows.get(id);
      return author !== 'model' && caption;
    }).length;
    const captions = ids.length === 1 ? 'Its caption goes too' : 'Their captions go too';
    const yours = ids.length === 1 ? ', which is yours' : `, ${own} of them yours`;
    const text = `${captions}${own ? yours : ''}. This cannot be undone.`;
    const answers = [[`Remove ${photos}`, 'yes']];
    const answer = await ask(this.root, `Remove ${photos}?`, text, answers, {destroys: true});
    if (answer) await this.album.remove(ids);
  }

  async download(kind) {
    const {name, content} = await this.album.download(kind);
    const link = make('a', {href: URL.createObjectURL(content), download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    this.tell(this.#lacking(['csv', 'jsonl'].includes(kind), name));
  }

  /** Which photos have no caption in a file. `marks`: the file names errors. */
  #lacking(marks, name) {
    const rows = (status) => this.album.list.filter((row) => row.status === status).length;
    const missing = rows('waiting') + (marks ? 0 : rows('failed')), empty = rows('empty');
    const is = (number) => number === 1 ? 'is' : 'are';
    const have = missing === 1 ? 'has' : 'have', fate = marks ? 'marked as errors' : 'left out';
    return [
      missing && `${count(missing, 'photo')} ${have} no caption and ${is(missing)} not in ${name}.`,
      empty && `${count(empty, 'caption')} ${is(empty)} empty and ${fate} in ${name}.`,
    ].filter(Boolean).join(' ');
  }

  get #meant() {
    return this.list.meant.map((id) => this.album.rows.get(id));
  }
}
