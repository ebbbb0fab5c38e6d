// What Gradio's components lack: words that say what can be done, names for those who cannot see
// them, and no button around a button.
const A_FILE = {'Drop File Here': 'Drop a file here', '- or -': 'or', 'Click to Upload': 'choose or paste one'};
const PHOTOS = {'Drop File Here': 'Drop photos here', '- or -': 'or', 'Click to Upload': 'choose them'};
const mend = (root) => {
  for (const area of root.querySelectorAll(':is(.takes-a-file, .takes-photos) [data-testid=upload-text]')) {
    const named = area.closest('.takes-photos') ? PHOTOS : A_FILE;
    for (const part of [...area.childNodes, ...(area.querySelector('.or')?.childNodes ?? [])]) {
      const words = named[part.nodeValue?.trim()];
      if (words) part.nodeValue = ` ${words} `;
    }
  }
  for (const area of root.querySelectorAll('button[aria-dropeffect][aria-label]')) {
    if (area.innerText.trim()) area.removeAttribute('aria-label');  // another name than it shows
  }
  for (const picture of root.querySelectorAll('#photo img[alt=""]')) picture.alt = 'Your photo';
  for (const header of root.querySelectorAll('.toast-header[role=button]')) {
    header.removeAttribute('role');
    header.removeAttribute('tabindex');
  }
  for (const link of root.querySelectorAll('.file-preview .download-link')) {
    for (const part of link.childNodes) {
      part.nodeValue = part.nodeValue.replace(/^(\d+)\.0\sB$/, '$1 bytes'); // there are no tenths
    }
  }
};

// A file that the browser cannot show, such as a TIFF, can still have a caption.
const noteShown = ({type, target}) => {
  if (target.matches?.('#photo img')) target.parentElement.classList.toggle('not-shown', type === 'error');
};
document.addEventListener('error', noteShown, true);
document.addEventListener('load', noteShown, true);

document.addEventListener('page-ready', () => {
  mend(document);
  new MutationObserver((changes) => {
    const added = changes.some(({addedNodes}) => [...addedNodes].some((node) => node.children));
    if (added) mend(document);
  }).observe(document.body, {childList: true, subtree: true});
});
