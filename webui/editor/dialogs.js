// Questions before something is lost, and one dialog that changes many captions, with a preview.

import {button, count, make} from './dom.js';

const PREVIEWED = 30; // changes shown
const PRIMARY = {className: 'primary'};

/** Ask; gives the value of the button pressed, or null. `answers`: [text, value] each, the
 * recommended one first, which may destroy something. */
export function ask(root, title, text, answers, {destroys = false, cancels = true} = {}) {
  const dialog = make('dialog', {className: 'ask', 'aria-label': title});
  const first = destroys ? {className: 'danger'} : PRIMARY;
  const buttons = answers.map(([label, value], place) =>
    button(label, () => dialog.close(value), place ? {} : first));
  if (cancels) buttons.push(cancel(dialog));
  dialog.append(make('h2', {}, title), make('p', {}, text),
    make('div', {className: 'answers'}, ...buttons));
  return answered(root, dialog);
}

/** The dialog for finding and replacing, and for words around every caption; gives the changed
 * texts by row, or null. `whose`: "selected" or "shown". */
export function changeMany(root, rows, whose) {
  const preview = make('ol', {className: 'preview', tabIndex: 0, 'aria-label': 'Preview'});
  const summary = make('p', {className: 'summary', role: 'status'});
  const dialog = make('dialog', {className: 'change-many', 'aria-label': 'Change captions'});
  const apply = make('button', {type: 'submit', ...PRIMARY});
  const form = make('form', {},
    make('h2', {}, 'Change captions'),
    make('fieldset', {},
      make('legend', {}, 'Find and replace'),
      field('Find', 'find'), field('Replace with', 'replace'),
      tick('Match case', 'matchCase'), tick('Whole words only', 'wholeWords', true)),
    make('fieldset', {},
      make('legend', {}, 'Words around every caption'),
      field('Put before', 'before', 'such as a trigger word'), field('Put after', 'after')),
    summary, preview, make('div', {className: 'answers'}, apply, cancel(dialog)));
  let texts = {};

  function look() {
    const change = changer(Object.fromEntries(new FormData(form)));
    const changed = rows.map((row) => [row, change(row.caption)])
      .filter(([row, text]) => text !== row.caption);
    texts = Object.fromEntries(changed.map(([row, text]) => [row.id, text]));
    preview.replaceChildren(...changed.slice(0, PREVIEWED).map(([row, text]) =>
      make('li', {}, ...difference(row.caption, text))));
    const rest = changed.length - PREVIEWED;
    if (rest > 0) preview.append(make('li', {className: 'rest'}, `and ${count(rest, 'more caption')}`));
    preview.hidden = !changed.length;
    summary.textContent = `${changed.length} of the ${count(rows.length, 'caption')} ${whose} will change.`;
    apply.disabled = !changed.length;
    apply.textContent = changed.length ? `Change ${count(changed.length, 'caption')}` : 'Change';
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    dialog.close('apply');
  });
  form.addEventListener('input', look);
  dialog.append(form);
  look();
  return answered(root, dialog).then((answer) => answer && texts);
}

function field(label, name, placeholder = '') {
  const input = make('input', {type: 'text', name, placeholder, autocomplete: 'off'});
  return make('label', {}, make('span', {}, label), input);
}

function tick(label, name, checked = false) {
  const input = make('input', {type: 'checkbox', name, checked});
  return make('label', {className: 'tick'}, input, make('span', {}, label));
}

function cancel(dialog) {
  return button('Cancel', () => dialog.close(''));
}

/** Show a dialog; gives what it was closed with, or null. */
function answered(root, dialog) {
  root.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => {
    dialog.remove();
    resolve(dialog.returnValue || null);
  }));
}

/** Two paragraphs, before and after, in which the words that differ are marked. */
function difference(before, after) {
  const words = (text) => text.match(/\s*\S+|\s+$/g) ?? [];
  const [old, young] = [words(before), words(after)], same = commonWords(old, young);
  const marked = (list, tag, kept) => list.map((word, place) => {
    const [, space, rest] = /^(\s*)(.*)$/s.exec(word);
    return kept.has(place) ? word : [space, make(tag, {}, rest)];
  }).flat();
  return [
    make('p', {className: 'before'}, ...marked(old, 'del', new Set(same.map(([place]) => place)))),
    make('p', {className: 'after'}, ...(after
      ? marked(young, 'ins', new Set(same.map(([, place]) => place))) : ['(empty)'])),
  ];
}

/** The places, in both lists, of the words of their longest common subsequence. */
function commonWords(old, young) {
  const key = (word) => word.trim();
  const length = Array.from({length: old.length + 1}, () => new Uint16Array(young.length + 1));
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = young.length - 1; j >= 0; j--) {
      length[i][j] = key(old[i]) === key(young[j]) ? length[i + 1][j + 1] + 1
        : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < old.length && j < young.length;) {
    if (key(old[i]) === key(young[j])) pairs.push([i++, j++]);
    else if (length[i + 1][j] >= length[i][j + 1]) i++;
    else j++;
  }
  return pairs;
}

/** A function from a caption to the changed one. */
function changer({find, replace, before, after, matchCase, wholeWords}) {
  const literal = find.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const edge = (character, look) => (wholeWords && /[\p{L}\p{N}_]/u.test(character) ? look : '');
  const space = wholeWords && !replace ? ' ?' : ''; // goes with a word that is taken out
  const pattern = find && new RegExp(
    edge(find[0], '(?<![\\p{L}\\p{N}_])') + literal + edge(find.at(-1), '(?![\\p{L}\\p{N}_])') + space,
    matchCase ? 'gu' : 'giu');
  return (caption) => {
    const text = pattern ? caption.replace(pattern, () => replace).trim() : caption;
    return join(join(before, text), after);
  };
}

/** Two texts with a space between, unless there is one or punctuation follows. */
function join(left, right) {
  if (!left || !right) return left + right;
  return /\s$/.test(left) || /^[\s,.;:!?]/.test(right) ? left + right : `${left} ${right}`;
}
