// The texts of Write: prompt and answer in two tints, and each text follows what is written unless
// its reader has scrolled up.
const box = element.querySelector('.texts');

const addText = () => {
  const text = document.createElement('div');
  text.className = 'text';
  text.tabIndex = 0;
  text.role = 'region';
  text.append(document.createElement('mark'), document.createElement('span'));
  return box.appendChild(text);
};
const put = (part, text) => {
  const node = part.firstChild ?? part.appendChild(document.createTextNode(''));
  if (!text.startsWith(node.data)) node.data = text;
  else if (text.length > node.length) node.appendData(text.slice(node.length));
};
const draw = () => {
  const {prompt, texts} = props.value;
  while (box.children.length > texts.length) box.lastChild.remove();
  texts.forEach((written, index) => {
    const text = box.children[index] ?? addText();
    const [asked, answer] = text.children;
    const another = asked.textContent !== prompt || written.length < answer.textContent.length;
    const follows = another || text.scrollTop + text.clientHeight > text.scrollHeight - 12;
    text.ariaLabel = texts.length > 1 ? `Text ${index + 1} of ${texts.length}` : 'Text';
    put(asked, prompt);
    put(answer, written);
    if (follows) text.scrollTop = text.scrollHeight;
  });
  const empty = !texts.some((text) => text || prompt);
  for (const button of element.querySelectorAll('button')) button.disabled = empty;
};
watch('value', draw);
draw();

// Whoever begins a text goes on reading it: the button that was pressed is hidden or disabled.
document.addEventListener('click', ({target}) => {
  if (target.closest?.('#write, #go-on, #try-again')) box.firstChild.focus({preventScroll: true});
});

element.addEventListener('click', ({target}) => {
  if (!target.closest('.download')) return;
  const whole = [...box.children].map((text) => text.textContent).join('\n\n---\n\n');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([whole], {type: 'text/plain'}));
  link.download = 'text.txt';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
