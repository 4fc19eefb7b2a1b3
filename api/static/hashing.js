// A file that somebody chooses or drops: hashed here, and only its digest asked about.
import { element, isolated, say, size } from "./words.js";

const CACHE_NAME = /^([0-9a-f]{40})(?:_[0-9]+)?$/;

export function offerHashing() {
  const section = document.querySelector("[data-hashing]");
  if (section === null) return;
  section.hidden = false;
  const input = section.querySelector("input");
  const hashing = new Hashing(section);
  input.addEventListener("change", () => {
    if (input.files.length > 0) hashing.begin(input.files);
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    input.value = "";
    hashing.begin(event.dataTransfer.files);
  });
}

class Hashing {
  constructor(section) {
    this.place = section.querySelector("[data-hash-progress]");
    this.bar = this.place.querySelector("progress");
    this.words = this.place.querySelector("span");
    this.result = section.querySelector("[data-hash-result]");
    this.cancel = section.querySelector("[data-cancel]");
    this.cancel.addEventListener("click", () => {
      this.end();
      this.show("", element("p", "Cancelled."));
    });
    this.worker = null;
  }

  begin(files) {
    this.end();
    const file = files[0];
    this.result.replaceChildren();
    this.bar.max = Math.max(file.size, 1);
    this.bar.value = 0;
    this.place.hidden = this.cancel.hidden = false;
    this.words.replaceChildren("Reading ", isolated(file.name));
    say("Hashing has begun.");
    const begun = performance.now();
    this.worker = new Worker(new URL("./hash-worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.done !== undefined) this.progress(file, data.done, begun);
      else this.conclude(file, data, files.length > 1);
    };
    this.worker.onerror = () => this.conclude(file, { error: "Error" }, false);
    this.worker.postMessage(file);
  }

  progress(file, done, begun) {
    this.bar.value = done;
    const pace = (1000 * done) / Math.max(performance.now() - begun, 1);
    this.words.replaceChildren(isolated(file.name), `: ${size(done)} of ${size(file.size)}, ${size(pace)} a second`);
  }

  async conclude(file, found, isOneOfMany) {
    this.end();
    let [kind, ...words] = ["wait"];
    if (found.error !== undefined) {
      words = [element("p", "The file cannot be read: is it a folder, was it removed or changed, may you read it?")];
    } else {
      try {
        [kind, ...words] = verdict(file, found, await lookUp(file, found.digest));
      } catch {
        words = [element("p", "The file was hashed, but the service does not answer. Search for the digest later.")];
      }
      words.push(element("p", "SHA-256 of the file: ", element("code", found.digest)));
    }
    if (isOneOfMany) words.push(element("p", "Only the first file was read."));
    this.show(kind, ...words);
  }

  show(kind, ...words) {
    const box = element("div", ...words);
    box.className = `notice ${kind}`;
    this.result.replaceChildren(box);
  }

  end() {
    this.worker?.terminate();
    this.worker = null;
    if (document.activeElement === this.cancel) this.result.focus(); // it is about to vanish
    this.place.hidden = this.cancel.hidden = true;
  }
}

async function lookUp(file, digest) {
  const name = CACHE_NAME.exec(file.name);
  const response = await fetch("/v1/lookups", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ digests: [`sha256:${digest}`], cache_names: name === null ? [] : [name[1]] }),
  });
  if (!response.ok) throw new Error(response.statusText);
  const { manifests } = await response.json();
  return {
    same: manifests.filter((each) => each.digests.sha256 === digest),
    named: manifests.find((each) => name !== null && each.cache_name === name[1]),
  };
}

// What to say of the file: how good that is, then paragraphs.
function verdict(file, { digest, isQcow2 }, { same, named }) {
  if (same.length > 0) {
    const words = same.map((each) =>
      element("p", isolated(file.name), " is the disk of image ", link(each), each.status === "deleted" ? ", which Glance has deleted." : "."),
    );
    const isMisnamed = named !== undefined && named.digests.sha256 !== digest;
    if (isMisnamed) words.push(element("p", "But its name is that of image ", link(named), "."));
    return [isMisnamed ? "bad" : "good", ...words];
  }
  if (named !== undefined) return ofItsName(file, named, isQcow2);
  const words = [element("p", "No image is known whose disk has the bytes of ", isolated(file.name), ".")];
  if (isQcow2) {
    words.push(
      element("p", "It is a qcow2 file, as Glance stores them, and no disk: ", command("manifest-service digest FILE"), " says what its disk hashes to."),
    );
  } else {
    words.push(
      element("p", "That is so for a file that has changed, for one that Nova has grown, and for an image that this service does not know or has no sha256 of."),
      element("p", "On its node, ", command("manifest-service verify FILE"), " tells these apart, and where a file differs."),
    );
  }
  return ["wait", ...words];
}

// The file is named as Nova names the disk of an image that is known, and is not that disk.
function ofItsName(file, named, isQcow2) {
  if (named.digests.sha256 === undefined) {
    return ["wait", element("p", "By its name it belongs to image ", link(named), `, of which no sha256 is known: it is ${named.status}.`)];
  }
  if (isQcow2) {
    return ["wait", element("p", "By its name it is the disk of image ", link(named), ", but it is still a qcow2 file: Nova has not converted it.")];
  }
  if (file.size > named.virtual_size) {
    return [
      "wait",
      element("p", "By its name it belongs to image ", link(named), ", and it is larger than that image's disk: Nova may have grown it."),
      element("p", "On its node, ", command("manifest-service verify FILE"), " tells a grown file from a changed one."),
    ];
  }
  return [
    "bad",
    element("p", element("strong", "It is not what it should be."), " By its name it is the disk of image ", link(named), ", and its bytes are others."),
    element("p", "On its node, ", command("manifest-service verify FILE"), " tells where it differs."),
  ];
}

function link(manifest) {
  const made = element("a", isolated(manifest.name));
  made.href = `/images/${manifest.image_id}`;
  return made;
}

function command(text) {
  return element("code", text);
}
