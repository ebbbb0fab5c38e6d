// Buttons with data-copies copy the text of the element of that id, and say that they have.
const copy = async (text) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');  // over plain HTTP
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
};

document.addEventListener('click', async (event) => {
  const button = event.target.closest?.('button[data-copies]');
  if (!button || button.dataset.said) return;
  await copy(document.getElementById(button.dataset.copies).textContent);
  button.dataset.said = button.textContent;
  button.textContent = 'Copied';
  setTimeout(() => {
    button.textContent = button.dataset.said;
    delete button.dataset.said;
  }, 1500);
});
