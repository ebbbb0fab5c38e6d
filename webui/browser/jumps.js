// Scrolls until a place on the page is in sight, at once for those who want less motion.
window.bring = (place, block) => {
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  place?.scrollIntoView({behavior: still ? 'auto' : 'smooth', block});
};

// Links to a place on the page go there, and leave the address to the tabs.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  const place = link && document.getElementById(link.hash.slice(1));
  if (!place) return;
  event.preventDefault();
  place.tabIndex = -1;
  bring(place, 'start');
  place.focus({preventScroll: true});
});
