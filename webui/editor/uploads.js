// Files that are chosen or dropped, in folders too, and their way to the server.

const AT_ONCE = 16 * 2 ** 20; // bytes in one request, so that the first photos are soon there
const FILES_AT_ONCE = 25;
const CAPTION_FILE = /\.(txt|caption)$/i;

/** Files of a form's input: [{file, name}], with their folders in the name. */
export function chosenFiles(input) {
  return tidy([...input.files].map((file) => ({file, name: file.webkitRelativePath || file.name})));
}

/** Files that were dropped, also those in folders. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return tidy([...transfer.files].map((file) => ({file, name: file.name})));
  return tidy((await Promise.all(entries.map((entry) => filesOf(entry, '')))).flat());
}

/** The files in groups that are sent at once. */
export function* groups(files) {
  let group = [], size = 0;
  for (const each of files) {
    if (group.length && (size + each.file.size > AT_ONCE || group.length === FILES_AT_ONCE)) {
      yield group;
      group = [];
      size = 0;
    }
    group.push(each);
    size += each.file.size;
  }
  if (group.length) yield group;
}

async function filesOf(entry, folder) {
  const name = folder + entry.name;
  if (entry.isFile) return [{file: await new Promise((yes, no) => entry.file(yes, no)), name}];
  const reader = entry.createReader(), found = [];
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((yes, no) => reader.readEntries(yes, no));
    if (!some.length) break;
    found.push(...await Promise.all(some.map((each) => filesOf(each, `${name}/`))));
  }
  return found.flat();
}

/** Without hidden files, in order of their names; captions first, so that no photo waits for its. */
function tidy(files) {
  const visible = files.filter(({name}) => !name.split('/').some((part) => part.startsWith('.')));
  const later = ({name}) => (CAPTION_FILE.test(name) ? 0 : 1);
  return visible.sort((a, b) =>
    later(a) - later(b) || a.name.localeCompare(b.name, 'en', {numeric: true}));
}
