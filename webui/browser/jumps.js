// Links to a place on the page go there, and leave the address to the tabs.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  const place = link && document.getElementById(link.hash.slice(1));
  if (!place) return;
  event.preventDefault();
  place.tabIndex = -1;
  place.scrollIntoView({behavior: 'smooth', block: 'start'});
  place.focus({preventScroll: true});
});
