// Keeps images that are under way current: asks the API for their progress, and the page itself once a state changes.
import { offerCopying } from "./copying.js";
import { say } from "./words.js";

const PAUSE = 1500; // milliseconds between two looks
const LONGEST_PAUSE = 30000;
const UNDER_WAY = ["pending", "computing"];

export function keepCurrent() {
  if (waiting().length === 0) return;
  note("This is kept current.");
  look(PAUSE);
}

function waiting() {
  return [...document.querySelectorAll("[data-unfinished]")];
}

function note(sentence) {
  for (const place of document.querySelectorAll("[data-live-note]")) {
    if (place.textContent !== sentence) place.textContent = sentence;
  }
}

function look(pause) {
  setTimeout(async () => {
    if (document.hidden) return look(pause);
    try {
      await update();
      note("This is kept current.");
      pause = PAUSE;
    } catch {
      pause = Math.min(2 * pause, LONGEST_PAUSE);
      note("The service does not answer now; it is asked again.");
    }
    if (waiting().length > 0) look(pause);
    else note("");
  }, pause);
}

async function update() {
  const places = waiting();
  const response = await fetch("/v1/lookups", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ image_ids: places.map((place) => place.dataset.image) }),
  });
  if (!response.ok) throw new Error(response.statusText);
  const manifests = new Map((await response.json()).manifests.map((each) => [each.image_id, each]));
  const changed = [];
  for (const place of places) {
    const manifest = manifests.get(place.dataset.image);
    if (manifest === undefined) continue;
    if (manifest.status === place.dataset.status && `${manifest.revision}` === place.dataset.revision) {
      showProgress(place, manifest.progress);
    } else {
      changed.push([place, manifest]);
    }
  }
  if (changed.length > 0) await renew(changed);
}

function showProgress(place, progress) {
  const bar = place.querySelector("progress");
  if (bar === null || progress === null || progress.total === 0) return;
  bar.max = progress.total;
  bar.value = progress.done;
  place.querySelector("[data-share]").textContent = `${Math.floor((100 * progress.done) / progress.total)} %`;
}

// Fetch the page anew and put its own words in place, so that they are written in one place only, the server.
async function renew(changed) {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) throw new Error(response.statusText);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const [place, manifest] of changed) {
    const fresh = page.querySelector(`[data-image="${CSS.escape(manifest.image_id)}"]`);
    if (fresh === null) {
      // It has left this part of the list: it may be narrowed to images under way.
      leave(place, manifest);
      continue;
    }
    // The page is younger than the answer that had it fetched: what it says is what is said.
    const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    place.replaceWith(fresh);
    offerCopying(fresh);
    if (focused !== null) fresh.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    if (!("unfinished" in fresh.dataset)) {
      say(`${(fresh.querySelector("h1, th bdi") ?? fresh).textContent.trim()}: ${fresh.dataset.status}`);
    }
  }
}

// What is no longer in this part of the list stays where it was, and is followed to its end.
function leave(place, { status, revision }) {
  Object.assign(place.dataset, { status, revision });
  if (!UNDER_WAY.includes(status)) delete place.dataset.unfinished;
  place.querySelector("[data-progress]")?.remove();
  const state = place.querySelector(".state");
  state.textContent = status;
  state.className = `state ${status}`;
}
