// Requests to the page's own server, and the ways in which they can fail.

/** The server answered that something cannot be done; the message is for the visitor. */
export class Problem extends Error {}

/** The server cannot be reached. What was typed is sent again later. */
export class Offline extends Error {
  constructor() {
    super('No connection to the server. What you type is kept here and sent when it is back.');
  }
}

/** The server no longer has these photos: it was restarted, or nobody used them for hours. */
export class Gone extends Error {}

export const url = (path) => new URL(path, document.baseURI);

/** Send JSON and read JSON. With `leaving`, the request outlives the page. */
export async function post(path, body, {leaving = false} = {}) {
  const answer = await reach(path, {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify(body),
    keepalive: leaving,
  });
  return answer.json();
}

/** A file to download, as {name, content}. */
export async function get(path) {
  const answer = await reach(path, {});
  const [, name] = answer.headers.get('Content-Disposition').match(/filename="(.+)"/);
  return {name, content: await answer.blob()};
}

/** Send files as a form does; gives their paths on the server. */
export function upload(files, progress) {
  const form = new FormData();
  for (const {file} of files) form.append('files', file);
  const request = new XMLHttpRequest(); // fetch cannot say how far an upload has come
  request.open('POST', url('gradio_api/upload'));
  request.upload.onprogress = (event) => progress(event.loaded);
  return new Promise((resolve, reject) => {
    request.onerror = () => reject(new Offline());
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(new Problem(detail(request.responseText)));
    };
    request.send(form);
  });
}

async function reach(path, options) {
  let answer;
  try {
    answer = await fetch(url(path), options);
  } catch {
    throw new Offline();
  }
  if (answer.ok) return answer;
  if (answer.status === 404) throw new Gone();
  if (answer.status >= 502) throw new Offline();
  throw new Problem(detail(await answer.text()));
}

function detail(text) {
  try {
    const {detail} = JSON.parse(text);
    return typeof detail === 'string' ? detail : 'The server refused this.';
  } catch {
    return text.slice(0, 300) || 'The server refused this.';
  }
}
