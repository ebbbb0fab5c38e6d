// A message in the corner leaves as soon as the visitor does something else.
const dismiss = (event) => {
  if (!event.target.closest?.('button, input, textarea') || event.target.closest('.toast-wrap')) return;
  document.querySelectorAll('.toast-wrap button.toast-close').forEach((button) => button.click());
};
document.addEventListener('click', dismiss, true);
document.addEventListener('change', dismiss, true);

// A sentence below a part of the page, until that part takes something or says something else.
window.tell = (part, sentence) => {
  part.parentElement.querySelectorAll(':scope > .told').forEach((told) => told.remove());
  if (!sentence) return;
  const told = document.createElement('p');
  told.className = 'notice problem told';
  told.role = 'alert';
  told.textContent = sentence;
  part.after(told);
};
document.addEventListener('change', (event) => {
  const part = event.target.closest?.('.takes-a-photo, .takes-a-file');
  if (part) tell(part);
}, true);
