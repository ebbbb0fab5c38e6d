// The caption's words show where the network looked: while pointed at or focused, or for good when
// chosen. The play button runs through them.
const tab = element.closest('[role=tabpanel]') ?? document.body;
const words = () => [...element.querySelectorAll('button.word')];
let playing = 0;

const show = (mask) => {
  const photo = tab.querySelector('#photo');
  photo?.style.setProperty('--look', mask ? `url("${mask}")` : 'none');
  photo?.classList.toggle('looking', Boolean(mask));
};
const chosen = () => words().find((word) => word.ariaPressed === 'true');
const rest = () => show(chosen()?.dataset.mask);
const choose = (word) => {
  for (const other of words()) other.ariaPressed = String(other === word);
  rest();
};
const stop = () => {
  clearInterval(playing);
  playing = 0;
  for (const button of element.querySelectorAll('.play')) button.textContent = button.dataset.name;
};
const forget = () => { stop(); choose(null); };
const play = (button) => {
  const own = [...button.closest('.sentence').querySelectorAll('button.word')];
  let next = 0;
  const step = () => (next < own.length ? choose(own[next++]) : forget());
  button.textContent = 'Stop';
  playing = setInterval(step, 700);
  step();
};

element.addEventListener('click', ({target}) => {
  const word = target.closest('button.word'), button = target.closest('.play');
  const played = playing;
  if (word || button) stop();
  if (word) choose(word === chosen() ? null : word);
  if (button) played ? forget() : play(button);
});
const preview = ({target}) => {
  const word = !playing && target.closest('button.word');
  if (word) show(word.dataset.mask);
};
const leave = ({target}) => !playing && target.closest('button.word') && rest();
element.addEventListener('mouseover', preview);
element.addEventListener('mouseout', leave);
element.addEventListener('focusin', preview);
element.addEventListener('focusout', leave);
element.addEventListener('keydown', ({target, key}) => {
  const all = words(), at = all.indexOf(target);
  const to = {ArrowLeft: at - 1, ArrowRight: at + 1}[key];
  if (at >= 0 && to !== undefined) all.at(to % all.length).focus();
});

// A word is about one photo: neither a new caption nor a new photo keeps it.
watch('value', forget);
new MutationObserver((changes) => {
  if (changes.some(({target}) => target.closest?.('#photo'))) forget();
}).observe(tab, {childList: true, subtree: true, attributes: true, attributeFilter: ['src']});
