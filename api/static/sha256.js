// SHA-256 (FIPS 180-4) of bytes that come piece by piece: the browser's own digest takes only all of them at once.

const K = new Int32Array(64);
const INITIAL = new Int32Array(8);

// The constants are the first 32 bits of the fractions of cube and square roots of the first primes (4.2.2, 5.3.3).
// Roots as whole numbers, since doubles would not be exact to the last bit: floor(root(prime * 2^(32 * degree))).
function fraction(prime, degree) {
  const target = BigInt(prime) << BigInt(32 * degree);
  let low = 0n;
  let high = 1n << 40n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(degree) <= target) low = middle;
    else high = middle;
  }
  return Number(BigInt.asIntN(32, low));
}

for (let candidate = 2, found = 0; found < 64; candidate++) {
  let isPrime = true;
  for (let divisor = 2; divisor * divisor <= candidate; divisor++) isPrime &&= candidate % divisor !== 0;
  if (!isPrime) continue;
  if (found < 8) INITIAL[found] = fraction(candidate, 2);
  K[found++] = fraction(candidate, 3);
}

export class Sha256 {
  #state = INITIAL.slice();
  #schedule = new Int32Array(64);
  #block = new Uint8Array(64); // the begin of a block whose rest has not come yet
  #length = 0; // bytes taken in; a double counts them exactly up to 2^53

  update(bytes) {
    let position = 0;
    const pending = this.#length % 64;
    this.#length += bytes.length;
    if (pending > 0) {
      position = Math.min(64 - pending, bytes.length);
      this.#block.set(bytes.subarray(0, position), pending);
      if (pending + position < 64) return this;
      this.#compress(this.#block, 0, 64);
    }
    const whole = bytes.length - ((bytes.length - position) % 64);
    this.#compress(bytes, position, whole);
    this.#block.set(bytes.subarray(whole));
    return this;
  }

  // The digest in hex. Nothing can be taken in after this.
  finish() {
    const pending = this.#length % 64;
    const end = new Uint8Array(pending < 56 ? 64 : 128);
    end.set(this.#block.subarray(0, pending));
    end[pending] = 0x80;
    // The length in bits has 64 bits: more than a double holds, so in two halves.
    const view = new DataView(end.buffer);
    view.setUint32(end.length - 8, Math.floor(this.#length / 2 ** 29));
    view.setUint32(end.length - 4, (this.#length % 2 ** 29) * 8);
    this.#compress(end, 0, end.length);
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #compress(bytes, begin, end) {
    const w = this.#schedule;
    const state = this.#state;
    for (let at = begin; at < end; at += 64) {
      for (let i = 0, j = at; i < 16; i++, j += 4) {
        w[i] = (bytes[j] << 24) | (bytes[j + 1] << 16) | (bytes[j + 2] << 8) | bytes[j + 3];
      }
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15];
        const y = w[i - 2];
        const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
        const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
        w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
      }
      let a = state[0];
      let b = state[1];
      let c = state[2];
      let d = state[3];
      let e = state[4];
      let f = state[5];
      let g = state[6];
      let h = state[7];
      for (let i = 0; i < 64; i++) {
        const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
        const t1 = (h + s1 + (g ^ (e & (f ^ g))) + K[i] + w[i]) | 0;
        const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
        const t2 = (s0 + ((a & b) | (c & (a | b)))) | 0;
        h = g;
        g = f;
        f = e;
        e = (d + t1) | 0;
        d = c;
        c = b;
        b = a;
        a = (t1 + t2) | 0;
      }
      state[0] += a;
      state[1] += b;
      state[2] += c;
      state[3] += d;
      state[4] += e;
      state[5] += f;
      state[6] += g;
      state[7] += h;
    }
  }
}
