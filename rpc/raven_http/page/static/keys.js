// Keys: the keyboard, unless the person types or a dialog is open.

const $ = (id) => document.getElementById(id);

function leave(field) {
  if (field.value && field.type === "search") {
    field.value = "";
    field.dispatchEvent(new Event("input"));
  }
  field.blur();
}

/** Call the function of a key, by its name, when the person presses it. */
export function listen(keys) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const { target, key } = event;
    // A field of a dialog that has just closed may have the focus until the next frame.
    if (target.matches("input, textarea, select") && !target.closest("dialog")) {
      if (key !== "Escape") return;
      leave(target);
      event.preventDefault();
      return;
    }
    if (!Object.hasOwn(keys, key)) return;
    // A focused button or link has Enter for itself, and other lists have the arrows.
    if (key === "Enter" && target.matches("button, a, summary")) return;
    if (key.startsWith("Arrow") && target !== $("feed-list")) return;
    event.preventDefault();
    keys[key]();
  });
}

/** Let the dialogs close by their buttons, and the one of the keys by a click beside it. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    for (const button of dialog.querySelectorAll("button.close")) button.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.id === "help" && dialog.close());
  }
}
