// Ctrl+V anywhere on a tab gives its drop area what was copied: a photo, or a file or text.
const shown = (element) => element.checkVisibility({visibilityProperty: true});
const give = (area, file) => {
  const input = area.querySelector('input[type=file]'), files = new DataTransfer();
  files.items.add(file);
  input.files = files.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
};
const NO_PHOTO = 'There is no photo in the clipboard. Copy a picture or a picture file, then paste again.';
const NO_FILE = 'There is no file or text in the clipboard. Copy the captions, then paste again.';

// Text becomes a file, whose ending says how to read it.
const asFile = (text) => {
  const start = text.trimStart()[0];
  const lines = text.trim().split('\n');
  const rows = lines.length > 1 && lines.every((line) => /^\s*\{.*\}\s*$/.test(line));
  const ending = rows ? 'jsonl' : '[{'.includes(start) ? 'json' : text.includes('\t') ? 'tsv' : 'csv';
  return new File([text], `pasted.${ending}`);
};

document.addEventListener('paste', (event) => {
  const areas = [...document.querySelectorAll('.takes-a-photo, .takes-a-file')].filter(shown);
  // A file goes to the area that has the focus, or else to the first that has none yet.
  const area = areas.find((area) => area.contains(event.target))
    ?? areas.find((area) => area.querySelector('input[type=file]')) ?? areas[0];
  const {files, items} = event.clipboardData;
  const writes = event.target.closest?.('textarea, input:not([type=file], [type=range], [type=checkbox], [type=radio])');
  if (!area || (writes && !files.length)) return;
  event.preventDefault();
  if (area.matches('.takes-a-photo')) {
    const photo = [...files].find((file) => file.type.startsWith('image/'));
    return photo ? give(area, photo) : tell(area, NO_PHOTO);
  }
  const text = event.clipboardData.getData('text/plain');
  const file = files[0] ?? (text.trim() && asFile(text));
  if (!area.querySelector('input[type=file]')) return;  // both have one
  return file ? give(area, file) : tell(area, NO_FILE);
});

// The button with the clipboard. Gradio's own says nothing when there is no picture.
document.addEventListener('click', async (event) => {
  if (!event.target.closest?.('.takes-a-photo button[aria-label="Paste from clipboard"]')) return;
  event.stopPropagation();
  const area = event.target.closest('.takes-a-photo');
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((type) => type.startsWith('image/'));
      if (type) return give(area, new File([await item.getType(type)], 'pasted.png', {type}));
    }
    tell(area, NO_PHOTO);
  } catch {  // over plain HTTP, or where the visitor said no
    tell(area, 'The browser does not let this button read the clipboard. Press Ctrl+V instead.');
  }
}, true);
