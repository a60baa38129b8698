// Runs before the first paint, so that a remembered theme never flashes the other one. Kept apart from the bundle
// because the page's Content-Security-Policy forbids inline scripts. The key is that of src/state/prefs.ts.
(function () {
  try {
    var theme = JSON.parse(localStorage.getItem("flashtrial.prefs") || "{}").theme;
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch (_) {
    // no storage, or not ours: the system's preference decides
  }
})();
