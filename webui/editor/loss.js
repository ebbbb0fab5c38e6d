// What is said when the server no longer has the photos.

import {button, count, make} from './dom.js';

/** A notice of what is lost and what is left; `bring` and `drop` are what its buttons do. */
export function lossNotice(rows, bring, drop) {
  const captions = rows.filter((row) => row.caption);
  const edited = captions.filter((row) => row.author === 'person').length;
  return make('div', {className: 'loss', role: 'alert'},
    make('h2', {}, 'The server no longer has your photos'),
    make('p', {}, `It was restarted, or the page was closed for hours. ${count(rows.length, 'photo')}`
      + ` ${rows.length === 1 ? 'is' : 'are'} lost. ${count(captions.length, 'caption')}, ${edited} of them`
      + ' edited, are still here. Bring them back to edit and download them; add the photos again,'
      + ' under the same names, to see and caption them.'),
    make('div', {className: 'answers'},
      button('Bring the captions back', bring, {className: 'primary'}),
      button('Throw them away', drop)));
}
