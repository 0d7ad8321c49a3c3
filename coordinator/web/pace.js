// Keeps the page calm: however much happens, it is drawn a few times a second and told every few seconds.

/** Draws at most so often, ms. */
const BETWEEN_DRAWINGS = 200;
/** Tells at most so often, ms: who listens has to be able to follow. */
const BETWEEN_WORDS = 5000;

/** A function that has `draw` called soon, once for all calls until then. `stop` ends it. */
export function coalesced(draw, every = BETWEEN_DRAWINGS) {
  let timer = null;
  let last = -Infinity;
  const soon = () => {
    if (timer !== null) return;
    const wait = Math.max(0, last + every - performance.now());
    timer = setTimeout(() => {
      timer = null;
      last = performance.now();
      draw();
    }, wait);
  };
  soon.stop = () => clearTimeout(timer);
  return soon;
}

/** Tells people who listen, at most every few seconds, the newest of what there is to tell. */
export class Announcer {
  #element;
  #next = '';
  #soon = coalesced(() => this.#tell(), BETWEEN_WORDS);

  constructor(element) {
    this.#element = element;
  }

  say(text) {
    this.#next = text;
    this.#soon();
  }

  /** What cannot wait, as an end or a failure. */
  sayNow(text) {
    this.#next = text;
    this.#tell();
  }

  #tell() {
    if (this.#element.textContent !== this.#next) this.#element.textContent = this.#next;
  }
}
