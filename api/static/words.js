// Words that several scripts use; api/pages/words.py says the same for the server.

const UNSEEN = /(?! )[\p{C}\p{Z}]/gu;

// A name with nothing in it that cannot be seen, in an element that keeps its direction to itself.
export function isolated(name) {
  const element = document.createElement("bdi");
  if (name === null) {
    element.textContent = "(no name)";
  } else if (!name.trim()) {
    element.textContent = "(blank name)";
  } else {
    element.textContent = name.replace(UNSEEN, (character) => {
      const code = character.codePointAt(0);
      return code < 0x100 ? `\\x${hex(code, 2)}` : code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
    });
  }
  return element;
}

export function size(count) {
  let unit = "bytes";
  for (const larger of ["KiB", "MiB", "GiB", "TiB", "PiB"]) {
    if (count < 1024) break;
    count /= 1024;
    unit = larger;
  }
  return `${count.toFixed(1).replace(/\.0$/, "")} ${unit}`;
}

// For those who do not see the page: read out without moving the focus.
export function say(sentence) {
  document.getElementById("said").textContent = sentence;
}

// An element that holds texts and other elements, in their order. Texts stay texts, whatever is in them.
export function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

function hex(code, digits) {
  return code.toString(16).padStart(digits, "0");
}
