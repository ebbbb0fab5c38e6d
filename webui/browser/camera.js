// The camera: where there is none, a sentence in place of nothing.
const cameraMissing = async () => {
  if (!navigator.mediaDevices) return 'The browser lets a page use the camera only over HTTPS.';
  const devices = await navigator.mediaDevices.enumerateDevices();
  if (devices.some((device) => device.kind === 'videoinput')) return '';
  return 'There is no camera here. Drop, choose or paste a photo instead.';
};
let checked = false;

document.addEventListener('click', async (event) => {
  const button = event.target.closest?.('button[aria-label="Capture from camera"]');
  if (!button || checked) return;
  event.stopPropagation();
  const missing = await cameraMissing();
  if (missing) return tell(button.closest('.block'), missing);
  checked = true;
  button.click();
  checked = false;
}, true);
