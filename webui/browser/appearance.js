// Light or dark, as the visitor chose in the masthead or else as the system has it. The choice is
// kept, and takes effect without a reload.
const system = matchMedia('(prefers-color-scheme: dark)');
const chosen = () => localStorage.getItem('appearance') ?? 'system';
const appear = () => {
  const dark = chosen() === 'system' ? system.matches : chosen() === 'dark';
  if (document.body.classList.contains('dark') !== dark) document.body.classList.toggle('dark', dark);
};

document.addEventListener('change', (event) => {
  if (event.target.id !== 'appearance') return;
  localStorage.setItem('appearance', event.target.value);
  appear();
});
document.addEventListener('page-ready', () => {
  document.querySelector('#appearance').value = chosen();
  appear();
  // Gradio sets the system's whenever that changes.
  new MutationObserver(appear).observe(document.body, {attributeFilter: ['class']});
});
