// What a visitor has typed and set in a .remembered part of the page stays in the browser until its
// tab is closed, and is typed in again after a reload. Gradio's own events cannot do it: a component
// that is written to before it is drawn puts back that value whenever a handler has read it.
const CONTROLS = 'textarea, input[type=number], input[type=text], input[type=checkbox], input[type=radio]';
const kept = JSON.parse(sessionStorage.getItem('typed') ?? '{}');
const met = new WeakSet(), typed = new WeakSet(), known = new WeakSet(); // seen, used, and of a value that counts
const first = {};  // what the components wrote themselves

// Not innerText, which has other spaces while the options are folded away.
const textOf = (label) => label?.textContent.trim().replace(/\s+/g, ' ');
const nameOf = (control) => control.ariaLabel || textOf(control.closest('label, fieldset')) || control.id;
const stateOf = (control) => (/checkbox|radio/.test(control.type) ? control.checked : control.value);
const controlsOf = (part) => {
  const times = {};
  return [...part.querySelectorAll(CONTROLS)].map((control) => {
    const name = `${nameOf(control)} ${control.type === 'radio' ? control.value : ''}`;
    times[name] = (times[name] ?? 0) + 1;
    return [`${part.id} ${name} ${times[name]}`, control];
  });
};
const typeAgain = (control, state) => {
  if (stateOf(control) === state) return;
  if (typeof state === 'boolean') {
    if (state || control.type === 'checkbox') control.click();
    return;
  }
  control.value = state;
  control.dispatchEvent(new Event('input', {bubbles: true}));
};

const keep = ({target}) => {
  const part = target.closest?.('.remembered');
  if (!part) return;
  typed.add(target);
  setTimeout(() => {
    for (const [name, control] of controlsOf(part)) {
      if (!known.has(control)) continue;
      if (stateOf(control) === first[name]) delete kept[name];
      else kept[name] = stateOf(control);
    }
    sessionStorage.setItem('typed', JSON.stringify(kept));
  });
};
document.addEventListener('input', keep);
document.addEventListener('click', keep);  // buttons that fill in or put back

const restore = () => {
  for (const part of document.querySelectorAll('.remembered')) {
    for (const [name, control] of controlsOf(part)) {
      if (met.has(control)) continue;
      met.add(control);
      // After the component has written its own first value, which is not to be kept.
      requestAnimationFrame(() => requestAnimationFrame(() => {
        if (!typed.has(control)) first[name] ??= stateOf(control);
        if (name in kept) typeAgain(control, kept[name]);
        known.add(control);
      }));
    }
  }
};
document.addEventListener('page-ready', () => {
  restore();
  new MutationObserver(restore).observe(document.body, {childList: true, subtree: true});
  // Settings that were changed are used, so they are shown.
  const closed = document.querySelector('.remembered > button.label-wrap:not(.open)');
  if (closed && Object.keys(kept).some((name) => name.startsWith(closed.parentElement.id))) closed.click();
});
