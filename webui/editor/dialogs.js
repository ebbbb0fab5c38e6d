// Questions before something is lost, and one dialog that changes many captions, with a preview.

import {button, count, make} from './dom.js';

const PREVIEWED = 30; // changes shown

/** Ask; gives the value of the button pressed, or null. `answers`: [text, value, kind] each. */
export function ask(root, title, text, answers) {
  const dialog = make('dialog', {className: 'ask', 'aria-label': title});
  const buttons = answers.map(([label, value, kind = 'secondary']) =>
    button(label, () => dialog.close(value), {className: kind}));
  buttons.push(button('Cancel', () => dialog.close(''), {className: 'secondary'}));
  dialog.append(
    make('h2', {}, title), make('p', {}, text), make('div', {className: 'answers'}, ...buttons));
  return answered(root, dialog);
}

/** The dialog for finding and replacing, and for words around every caption. */
export function changeMany(root, album, ids, {selected}) {
  const rows = ids.map((id) => album.rows.get(id))
    .filter((row) => !['waiting', 'failed', 'empty'].includes(row.status));
  const field = (placeholder = '') => make('input', {type: 'text', placeholder, autocomplete: 'off'});
  const fields = {
    find: field(),
    replace: field(),
    before: field('such as a trigger word'),
    after: field(),
  };
  const matchCase = make('input', {type: 'checkbox'}), wholeWords = make('input', {type: 'checkbox'});
  const labelled = (text, input) => make('label', {}, make('span', {}, text), input);
  const preview = make('ol', {className: 'preview', tabIndex: 0, 'aria-label': 'Preview'});
  const summary = make('p', {className: 'summary', role: 'status'});
  const dialog = make('dialog', {className: 'change-many', 'aria-label': 'Change captions'});
  const apply = button('Change', () => dialog.close('apply'), {className: 'primary'});
  let texts = {};

  function look() {
    const settings = Object.fromEntries(Object.entries(fields).map(([name, {value}]) => [name, value]));
    const change = changer({...settings, matchCase: matchCase.checked, wholeWords: wholeWords.checked});
    const changed = rows.filter((row) => change(row.caption) !== row.caption);
    texts = Object.fromEntries(changed.map((row) => [row.id, change(row.caption)]));
    preview.replaceChildren(...changed.slice(0, PREVIEWED).map((row) =>
      make('li', {}, make('del', {}, row.caption), make('ins', {}, texts[row.id] || '(empty)'))));
    const rest = changed.length - PREVIEWED;
    if (rest > 0) preview.append(make('li', {className: 'rest'}, `and ${count(rest, 'more caption')}`));
    preview.hidden = !changed.length;
    const whose = selected ? 'selected' : 'shown';
    summary.textContent = `${changed.length} of ${count(rows.length, 'caption')} ${whose} will change.`;
    apply.disabled = !changed.length;
    apply.textContent = changed.length ? `Change ${count(changed.length, 'caption')}` : 'Change';
  }

  const form = make(
    'form', {method: 'dialog'},
    make('h2', {}, 'Change captions'),
    make('fieldset', {},
      make('legend', {}, 'Find and replace'),
      labelled('Find', fields.find), labelled('Replace with', fields.replace),
      make('label', {className: 'tick'}, matchCase, make('span', {}, 'Match case')),
      make('label', {className: 'tick'}, wholeWords, make('span', {}, 'Whole words only'))),
    make('fieldset', {},
      make('legend', {}, 'Words around every caption'),
      labelled('Put before', fields.before), labelled('Put after', fields.after)),
    summary, preview,
    make('div', {className: 'answers'}, apply,
      button('Cancel', () => dialog.close(''), {className: 'secondary'})));
  form.addEventListener('submit', (event) => { // Enter in a field
    event.preventDefault();
    if (!apply.disabled) dialog.close('apply');
  });
  form.addEventListener('input', look);
  dialog.append(form);
  look();
  return answered(root, dialog).then((answer) => answer && texts);
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
  const pattern = find && new RegExp(
    edge(find[0], '(?<![\\p{L}\\p{N}_])') + literal + edge(find.at(-1), '(?![\\p{L}\\p{N}_])'),
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
