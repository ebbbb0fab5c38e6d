// Puts the list of photos together: `start` is called once, with the element to draw in.

import {Album} from './album.js';
import {Backup} from './backup.js';
import {Bar} from './bar.js';
import {ask, changeMany} from './dialogs.js';
import {button, count, make} from './dom.js';
import {LargePhoto} from './large.js';
import {PhotoList} from './list.js';
import {Gone} from './server.js';
import {chosenFiles, droppedFiles, groups} from './uploads.js';

export async function start(element) {
  const root = element.querySelector('.photo-editor');
  const album = new Album(), backup = new Backup(album);
  const list = new PhotoList(album, (id) => large.show(id));
  const message = make('p', {className: 'message', role: 'status', hidden: true});
  const tell = (text) => {
    message.textContent = text;
    message.hidden = !text;
  };
  /** Do something, and say it if it fails. */
  const trying = (action) => async (...values) => {
    tell('');
    try {
      await action(...values);
    } catch (error) {
      if (!(error instanceof Gone)) tell(error.message);
    }
  };
  const place = drawDropPlace(trying(addFiles));
  const bar = new Bar(album, list, {
    caption: trying((waiting) =>
      (waiting.length && !list.chosen.size ? album.caption(waiting, false) : captionAgain())),
    stop: trying(album.stop),
    settings: openSettings,
    add: place.choose,
    change: trying(change),
    remove: trying(() => remove(list.meant)),
    clear: trying(() => remove(album.order)),
    undo: trying(album.undo),
    redo: trying(album.redo),
    download: trying(download),
  });
  const nothing = make('p', {className: 'message', hidden: true}, 'No photos to show here.');
  const head = make('div', {className: 'list-head'}, bar.element, message);
  root.replaceChildren(place.element, head, nothing, list.element);
  const large = new LargePhoto(root, album, list);

  async function addFiles(files) {
    const notes = [], total = files.length;
    if (!total) return;
    let done = 0;
    for (const group of groups(files)) {
      const size = group.reduce((sum, {file}) => sum + file.size, 0);
      notes.push(...await album.add(group, (sent) => {
        const share = total > 1 ? '' : `: ${Math.min(100, Math.round(100 * sent / size))}%`;
        tell(`Sending ${Math.min(total, done + 1)} of ${count(total, 'file')}${share}`);
      }));
      done += group.length;
    }
    tell([...new Set(notes)].join(' '));
  }

  async function captionAgain() {
    const rows = list.meant.map((id) => album.rows.get(id)).filter((row) => row.photo);
    const yours = rows.filter((row) => row.author !== 'model').length;
    const ids = rows.map((row) => row.id);
    if (!yours) return album.caption(ids, false);
    const others = rows.length - yours;
    const answers = [[`Replace all ${rows.length}`, 'all']];
    if (others) answers.unshift([`Keep mine, caption the other ${others}`, 'others', 'primary']);
    const title = yours === 1 ? 'One caption is yours' : `${yours} captions are yours`;
    const text = `Of ${count(rows.length, 'caption')}, ${yours} ${yours === 1 ? 'was' : 'were'} written by`
      + ' you or came with the photo. Undo brings back what is replaced.';
    const answer = await ask(root, title, text, answers);
    if (answer) await album.caption(ids, answer === 'all');
  }

  async function change() {
    const texts = await changeMany(root, album, list.meant, {selected: list.chosen.size > 0});
    if (texts) await album.editMany(texts);
  }

  async function remove(ids) {
    const photos = count(ids.length, 'photo');
    const edited = ids.filter((id) => album.rows.get(id).author === 'person').length;
    const text = `Their captions go too, ${edited || 'none'} of them edited. This cannot be undone.`;
    const answer = await ask(root, `Remove ${photos}?`, text, [[`Remove ${photos}`, 'yes', 'primary']]);
    if (answer) await album.remove(ids);
  }

  async function download(kind) {
    const {name, content} = await album.download(kind);
    const link = make('a', {href: URL.createObjectURL(content), download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    const empty = album.list.filter((row) => row.status === 'empty').length;
    if (empty) {
      const mark = ['csv', 'jsonl'].includes(kind) ? 'marked as errors' : 'left out';
      tell(`${count(empty, 'caption')} ${empty === 1 ? 'is' : 'are'} empty and ${mark} in ${name}.`);
    }
  }

  /** Say what a restart of the server has cost, and let the visitor decide. */
  function mourn() {
    const rows = album.list;
    const captions = rows.filter((row) => row.caption);
    const edited = captions.filter((row) => row.author === 'person').length;
    const bring = button('Bring the captions back', trying(async () => {
      await album.begin(album.list);
      loss.remove();
    }), {className: 'primary'});
    const drop = button('Throw them away', trying(async () => {
      album.forget();
      backup.save();
      loss.remove();
    }), {className: 'secondary'});
    root.querySelector('.loss')?.remove();
    const loss = make('div', {className: 'loss', role: 'alert'},
      make('h2', {}, 'The server no longer has your photos'),
      make('p', {}, `It was restarted, or the page was closed for hours. ${count(rows.length, 'photo')}`
        + ` ${rows.length === 1 ? 'is' : 'are'} lost. ${count(captions.length, 'caption')}, ${edited} of them`
        + ' edited, are still here. Bring them back to edit and download them; add the photos again,'
        + ' under the same names, to see and caption them.'),
      make('div', {className: 'answers'}, bring, drop));
    head.prepend(loss);
  }

  album.addEventListener('change', () => {
    root.classList.toggle('filled', album.order.length > 0);
  });
  list.addEventListener('choice', () => {
    nothing.hidden = !album.order.length || list.shown.length > 0;
  });
  album.addEventListener('trouble', ({detail}) => tell(detail));
  album.addEventListener('saved', () => {
    if (album.saving === 'offline') backup.save();
  });
  album.addEventListener('gone', () => {
    backup.save();
    mourn();
  });
  addEventListener('pagehide', () => {
    backup.save();
    album.leave();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') album.flush().catch(() => {});
  });
  document.addEventListener('keydown', (event) => undoByKey(event, root, album, trying));

  const kept = backup.read();
  if (kept) {
    try {
      await album.open(kept.token);
    } catch (error) {
      album.token = null;
      album.show(kept.rows);
      if (error instanceof Gone) mourn();
      else tell(error.message);
    }
  }
  root.dataset.ready = 'true';
}

/** Ctrl+Z and Ctrl+Shift+Z or Ctrl+Y, where no other text is being written. */
function undoByKey(event, root, album, trying) {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || event.altKey || !['z', 'y'].includes(key)) return;
  const other = event.target.closest('input, textarea, [contenteditable]');
  const ours = other?.matches('.caption-field, [type=checkbox]') ?? true;
  if (!ours || !root.checkVisibility() || root.querySelector('dialog[open]:not(.large)')) return;
  event.preventDefault();
  trying(key === 'y' || event.shiftKey ? album.redo : album.undo)();
}

/** Show Gradio's settings over the list. */
function openSettings() {
  const panel = document.querySelector('#photo-settings');
  panel.popover = 'auto';
  panel.showPopover();
}

function drawDropPlace(add) {
  const input = (properties) => {
    const made = make('input', {type: 'file', multiple: true, hidden: true, ...properties});
    made.addEventListener('change', async () => {
      const files = chosenFiles(made);
      await add(files);
      made.value = ''; // so that the same file can be chosen again
    });
    return made;
  };
  const files = input({accept: 'image/*,.heic,.heif,.avif,.zip,.txt,.caption'});
  const folder = input({webkitdirectory: true});
  const choose = ({folder: wanted = false} = {}) => (wanted ? folder : files).click();
  const element = make('div', {className: 'drop-place'},
    make('p', {className: 'invitation'}, 'Drop photos, a folder or a ZIP here'),
    make('div', {className: 'answers'},
      button('Choose photos', () => choose(), {className: 'primary'}),
      button('Choose a folder', () => choose({folder: true}), {className: 'secondary'})),
    make('p', {className: 'help'}, 'Up to 500 photos of 20 MB each. If you have captions already, add them too:'
      + ' photo.txt beside photo.jpg.'),
    files, folder);
  const whole = document.querySelector('#photos');
  for (const name of ['dragover', 'dragleave', 'drop']) {
    whole.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      whole.classList.toggle('dropping', name === 'dragover');
      if (name === 'drop') droppedFiles(event.dataTransfer).then(add);
    });
  }
  return {element, choose};
}
