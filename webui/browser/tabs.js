// Tabs: the arrow keys move between them, and the address says which is open.
const allTabs = () => [...document.querySelectorAll('[role=tablist] [role=tab]')];
const openTab = (name) => {
  const tab = allTabs().find((tab) => tab.dataset.tabId === name);
  if (tab?.ariaSelected === 'false') tab.click();
};

document.addEventListener('keydown', (event) => {
  const tabs = allTabs(), at = tabs.indexOf(event.target);
  const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1}[event.key];
  if (at < 0 || to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const tab = tabs.at(to % tabs.length);
  tab.click();
  tab.focus();
});

// Not by location.hash, which would scroll to an element of that name.
document.addEventListener('click', (event) => {
  const name = event.target.closest?.('[role=tab]')?.dataset.tabId;
  if (name && location.hash !== `#${name}`) history.pushState(null, '', `#${name}`);
});
const follow = () => openTab(location.hash.slice(1) || allTabs()[0]?.dataset.tabId);
addEventListener('popstate', follow);
document.addEventListener('page-ready', () => location.hash && follow());
