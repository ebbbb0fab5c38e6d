// Questions before something is lost, and one dialog that changes many captions, with a preview.

import {button, count, make} from './dom.js';

const PREVIEWED = 30; // changes shown
const PRIMARY = {className: 'primary'};

/** Ask; gives the value of the button pressed, or null. `answers`: [text, value] each, the
 * recommended one first. */
export function ask(root, title, text, answers) {
  const dialog = make('dialog', {className: 'ask', 'aria-label': title});
  const buttons = answers.map(([label, value], place) =>
    button(label, () => dialog.close(value), place ? {} : PRIMARY));
  dialog.append(make('h2', {}, title), make('p', {}, text),
    make('div', {className: 'answers'}, ...buttons, cancel(dialog)));
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
      make('li', {}, make('del', {}, row.caption), make('ins', {}, text || '(empty)'))));
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
