// Theme: sets the chosen colours before the page is painted; without a choice they follow the system.
(() => {
  try {
    const theme = localStorage.getItem("raven-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // A browser that keeps nothing follows the system.
  }
})();
