// What the browser's tab keeps, so that a reload changes nothing and a restart of the server costs
// the photos alone.

const KEY = 'many-photos';
const PAUSE = 400; // ms

export class Backup {
  #later;

  constructor(album) {
    this.album = album;
    album.addEventListener('change', () => {
      clearTimeout(this.#later);
      this.#later = setTimeout(() => this.save(), PAUSE);
    });
  }

  /** {token, rows}, or null. */
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY));
    } catch {
      return null;
    }
  }

  /** Keep the rows as they are now. Those whose server has gone keep the token that they had. */
  save() {
    clearTimeout(this.#later);
    const {list, token} = this.album;
    if (!list.length) return sessionStorage.removeItem(KEY);
    try {
      sessionStorage.setItem(KEY, JSON.stringify({token: token ?? 'gone', rows: list}));
    } catch {
      // There is no room: the server still has the rows.
    }
  }
}
