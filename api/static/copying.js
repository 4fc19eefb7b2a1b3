// A button beside each value that people carry elsewhere.
import { say } from "./words.js";

const CONFIRMED = 2000; // milliseconds for which a button says that it has copied

export function offerCopying(part) {
  for (const value of part.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${value.dataset.copy}`);
    button.addEventListener("click", () => copy(value, button));
    value.after(button);
  }
}

async function copy(value, button) {
  const copied = await put(value);
  button.textContent = copied ? "Copied" : "Selected";
  say(copied ? `${value.dataset.copy} copied` : `${value.dataset.copy} selected: copy it with your keyboard`);
  setTimeout(() => { button.textContent = "Copy"; }, CONFIRMED);
}

async function put(value) {
  try {
    await navigator.clipboard.writeText(value.textContent);
    return true;
  } catch {
    // Without https there is no clipboard object; selecting and copying by command is older, and still allowed.
    getSelection().selectAllChildren(value);
    return document.execCommand("copy");
  }
}
