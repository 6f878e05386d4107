// Before the first paint, so that nobody who chose dark sees white.
try {
  const chosen = localStorage.getItem('sightline-theme')
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen
} catch {
  // Without storage the system's choice holds.
}
