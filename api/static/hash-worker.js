// Hashes one file beside the page, which stays usable meanwhile. Slices are read; the file is never held as a whole.
import { Sha256 } from "./sha256.js";

const SLICE = 4 << 20;
const REPORT = 100; // milliseconds between two words on the progress

onmessage = async ({ data: file }) => {
  try {
    postMessage(await hash(file));
  } catch (error) {
    postMessage({ error: error.name });
  }
};

async function hash(file) {
  const sha256 = new Sha256();
  let isQcow2 = false;
  let reported = 0;
  let coming = read(file, 0);
  for (let done = 0; done < file.size; ) {
    const bytes = await coming;
    if (bytes.length === 0) throw new DOMException("the file became shorter", "NotReadableError");
    if (done === 0) isQcow2 = bytes[0] === 0x51 && bytes[1] === 0x46 && bytes[2] === 0x49 && bytes[3] === 0xfb;
    done += bytes.length;
    coming = read(file, done); // the next slice is read while this one is hashed
    sha256.update(bytes);
    if (performance.now() - reported > REPORT) {
      reported = performance.now();
      postMessage({ done });
    }
  }
  return { digest: sha256.finish(), isQcow2 };
}

async function read(file, begin) {
  return new Uint8Array(await file.slice(begin, begin + SLICE).arrayBuffer());
}
