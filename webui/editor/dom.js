// Makes elements, and writes numbers as people read them.

/** An element: make('p', {className: 'name', 'aria-label': 'Name'}, 'photo.jpg'). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A button, of the quiet kind unless its properties say otherwise. */
export function button(label, onclick, properties = {}) {
  return make('button', {type: 'button', className: 'secondary', onclick, ...properties}, label);
}

/** Show a picture, or none if there is no address; one that is shown already is not loaded again. */
export function setPicture(image, address) {
  if (!address) image.removeAttribute('src');
  else if (image.getAttribute('src') !== address) image.src = address;
}

/** "1 photo", "30 photos". */
export function count(number, word) {
  return `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;
}

/** "3.2 MB". */
export function megabytes(bytes) {
  const size = bytes / 2 ** 20;
  return `${size < 9.95 ? size.toFixed(1) : Math.round(size).toLocaleString('en')} MB`;
}

/** "8 s", "2 min 5 s". */
export function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
