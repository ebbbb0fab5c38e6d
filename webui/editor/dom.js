// Makes elements, and writes numbers as people read them.

/** An element: make('button', {className: 'quiet', onclick: go, 'aria-label': 'Go'}, 'Go'). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A button of type "button". */
export function button(text, onclick, properties = {}) {
  return make('button', {type: 'button', onclick, ...properties}, text);
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
