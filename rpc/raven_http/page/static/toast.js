// Toast: short notes at the foot of the window, and texts that the person can copy.

import { el, icon, visible } from "./text.js";

export const TOAST_MS = 4000;
const MOST_AT_ONCE = 3;

/** Show a note for some seconds; of the kind `bad` if something failed. */
export function toast(text, kind = "") {
  const box = document.getElementById("toasts");
  const one = el(`div.toast${kind ? `.${kind}` : ""}`, {}, visible(text));
  box.append(one);
  while (box.children.length > MOST_AT_ONCE) box.firstChild.remove();
  setTimeout(() => one.remove(), TOAST_MS);
}

/** Copy a text, and say so. */
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    toast("The browser does not let this page copy: select the text instead", "bad");
  }
}

/** Make a command line with a button that copies it. */
export function command(text) {
  return el("div.command", {}, el("code", {}, visible(text)), el("button.icon-button", { type: "button", title: "Copy", "aria-label": "Copy the command", onclick: () => copy(text, "Command copied") }, icon("copy")));
}
