// The text field of a caption: Enter goes to the next photo, Esc cancels what was typed.

import {newStep} from './album.js';
import {make} from './dom.js';

const MAX_CAPTION = 2000; // characters, as in webui/services/album.py

/**
 * A field for the caption of the row that `id()` names. `move(by)` goes to another photo. Send it
 * the event "refresh" after its value was set from outside.
 */
export function captionField(album, id, move) {
  const field = make('textarea', {
    className: 'caption-field', rows: 1, maxLength: MAX_CAPTION, spellcheck: true, lang: 'en',
  });
  let before = '', step = newStep();
  const begin = () => {
    before = field.value;
    step = newStep();
  };
  field.addEventListener('focus', begin);
  field.addEventListener('refresh', begin);
  field.addEventListener('input', () => album.edit(id(), field.value, step));
  field.addEventListener('blur', () => album.flush().catch(() => {}));
  field.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter') {
      event.preventDefault();
      move(event.shiftKey ? -1 : 1);
    } else if (event.key === 'Escape' && field.value !== before) {
      event.preventDefault(); // so that it does not close the large photo too
      event.stopPropagation();
      field.value = before;
      album.edit(id(), before, step);
    }
  });
  return field;
}

/** Show another text, unless it is the one that is there. */
export function setField(field, text) {
  if (field.value === text) return;
  field.value = text;
  field.dispatchEvent(new Event('refresh'));
}

/** Put the cursor behind a field's text. */
export function enter(field) {
  field.focus({preventScroll: true});
  field.setSelectionRange(field.value.length, field.value.length);
}
