// Kept: what the person chose, as long as the browser keeps anything.

/** Return a choice, or null if there is none. */
export function kept(key) {
  try {
    return localStorage.getItem(`raven-${key}`);
  } catch {
    return null;
  }
}

/** Keep a choice; in a browser that keeps nothing it lasts until the page is closed. */
export function keep(key, value) {
  try {
    localStorage.setItem(`raven-${key}`, value);
  } catch {
    // The page has it already.
  }
}
