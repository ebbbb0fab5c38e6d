// Puts the list of photos together: `start` is called once, with the element to draw in.

import {Actions} from './actions.js';
import {Album} from './album.js';
import {Backup} from './backup.js';
import {Bar} from './bar.js';
import {make} from './dom.js';
import {dropPlace} from './drop_place.js';
import {LargePhoto} from './large.js';
import {PhotoList} from './list.js';
import {lossNotice} from './loss.js';
import {Gone} from './server.js';

export async function start(element) {
  const root = element.querySelector('.photo-editor');
  const album = new Album(), backup = new Backup(album, root);
  const list = new PhotoList(album, (id) => large.show(id));
  const message = make('p', {className: 'message', role: 'status', hidden: true});
  const tell = (text) => {
    message.textContent = text;
    message.hidden = !text;
  };
  const trying = (action) => attempt(action, tell);
  const actions = new Actions(root, album, list, tell);
  const place = dropPlace(trying((files) => actions.add(files)));
  const bar = new Bar(album, list, {
    add: place.choose,
    caption: trying(() => actions.caption()),
    stop: trying(album.stop),
    change: trying(() => actions.change()),
    remove: trying(() => actions.remove(list.meant)),
    clear: trying(() => actions.remove(album.order)),
    undo: trying(album.undo),
    redo: trying(album.redo),
    download: trying((kind) => actions.download(kind)),
  });
  const nothing = make('p', {className: 'message', hidden: true}, 'No photos to show here.');
  const head = make('div', {className: 'list-head'}, bar.element, message);
  root.replaceChildren(place.element, head, nothing, list.element);
  const large = new LargePhoto(root, album, list);

  function showLoss() {
    const over = (action) => trying(async () => {
      await action();
      backup.save();
      notice.remove();
    });
    const bring = over(() => album.begin(album.list)), drop = over(() => album.forget());
    const notice = lossNotice(album.list, bring, drop);
    root.querySelector('.loss')?.remove();
    head.prepend(notice);
  }

  const drawEmptiness = () => {
    root.classList.toggle('filled', album.order.length > 0);
    nothing.hidden = !album.order.length || list.shown.length > 0;
  };
  album.addEventListener('change', drawEmptiness);
  list.addEventListener('choice', drawEmptiness);
  album.addEventListener('trouble', ({detail}) => tell(detail));
  album.addEventListener('saved', () => album.saving === 'offline' && backup.save());
  album.addEventListener('gone', () => {
    backup.save();
    showLoss();
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
  if (kept) await takeUp(kept, album, showLoss, tell);
  if (kept?.scrolled) scrollTo({top: kept.scrolled, behavior: 'instant'});
  root.dataset.ready = 'true';
}

/** An action that says why it failed. */
function attempt(action, tell) {
  return async (...values) => {
    tell('');
    try {
      await action(...values);
    } catch (error) {
      if (!(error instanceof Gone)) tell(error.message); // the notice of the loss says it
    }
  };
}

/** Show again what the browser's tab has kept. */
async function takeUp(kept, album, showLoss, tell) {
  try {
    await album.open(kept.token);
  } catch (error) {
    album.token = null;
    album.show(kept.rows);
    if (error instanceof Gone) showLoss();
    else tell(error.message);
  }
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
