// Where photos come in: dropped anywhere on the tab, or chosen by a button.

import {button, make} from './dom.js';
import {chosenFiles, droppedFiles} from './uploads.js';

/** The place as an element, and `choose`, which asks for files or a folder. */
export function dropPlace(add) {
  const files = fileInput({accept: 'image/*,.heic,.heif,.avif,.zip,.txt,.caption'}, add);
  const folder = fileInput({webkitdirectory: true}, add);
  const choose = ({folder: wanted = false} = {}) => (wanted ? folder : files).click();
  const element = make('div', {className: 'drop-place'},
    make('h2', {className: 'invitation'}, 'Drop photos, a folder or a ZIP here'),
    make('div', {className: 'answers'},
      button('Choose photos', () => choose(), {className: 'primary'}),
      button('Choose a folder', () => choose({folder: true}))),
    make('p', {className: 'help'}, 'Up to 500 photos of 20 MB each. If you have captions already, add them'
      + ' too: photo.txt beside photo.jpg.'),
    files, folder);
  const tab = document.querySelector('#photos');
  for (const name of ['dragover', 'dragleave', 'drop']) {
    tab.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      tab.classList.toggle('dropping', name === 'dragover');
      if (name === 'drop') droppedFiles(event.dataTransfer).then(add);
    });
  }
  return {element, choose};
}

function fileInput(properties, add) {
  const input = make('input', {type: 'file', multiple: true, hidden: true, ...properties});
  input.onchange = async () => {
    await add(chosenFiles(input));
    input.value = ''; // so that the same file can be chosen again
  };
  return input;
}
