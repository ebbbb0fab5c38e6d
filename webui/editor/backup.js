// What the browser's tab keeps, so that a reload changes nothing and a restart of the server costs
// the photos alone.

const KEY = 'many-photos';
const PAUSE = 400; // ms

export class Backup {
  #later;

  constructor(album, root) {
    Object.assign(this, {album, root});
    album.addEventListener('change', () => {
      clearTimeout(this.#later);
      this.#later = setTimeout(() => this.save(), PAUSE);
    });
  }

  /** {token, rows, scrolled}, or null. */
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
      const scrolled = this.root.checkVisibility() ? scrollY : 0;
      sessionStorage.setItem(KEY, JSON.stringify({token: token ?? 'gone', rows: list, scrolled}));
    } catch {
      // There is no room: the server still has the rows.
    }
  }
}
