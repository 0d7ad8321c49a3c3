// Events of the server as they happen. `EventSource` cannot show a token, so the stream is read by hand.

import { ApiError, get } from './api.js';

/** A line comes at least every 15 s: a connection without one for so long is dead. */
const SILENCE_MS_MAX = 45_000;
const WAIT_MS_MIN = 500;
const WAIT_MS_MAX = 15_000;
/** Characters of one piece; the server's are far smaller. */
const PIECE_MAX = 32 * 1024 * 1024;

/** Splits what comes into the pieces of a `text/event-stream`. */
export class Pieces {
  #rest = '';
  #piece = { id: null, name: 'message', data: [] };

  /** The pieces that are whole with this text. */
  *push(text) {
    this.#rest += text;
    if (this.#rest.length > PIECE_MAX) throw new Error('a piece of the stream is too long');
    let from = 0;
    for (let end = this.#rest.indexOf('\n'); end >= 0; end = this.#rest.indexOf('\n', from)) {
      const line = this.#rest.slice(from, end).replace(/\r$/, '');
      from = end + 1;
      const piece = this.#take(line);
      if (piece) yield piece;
    }
    this.#rest = this.#rest.slice(from);
  }

  #take(line) {
    if (line === '') {
      const { id, name, data } = this.#piece;
      this.#piece = { id: null, name: 'message', data: [] };
      return data.length > 0 ? { id, name, data: data.join('\n') } : null;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') this.#piece.id = value;
    if (field === 'event') this.#piece.name = value;
    if (field === 'data') this.#piece.data.push(value);
    return null;
  }
}

/**
 * Reads a stream until it is stopped or `onPiece` says with `false` that this was the last, and begins again where it
 * was when the connection breaks. `onOpen` is called at each beginning; `onState` with `live`, `again` (with a reason)
 * and `failed` (with an `ApiError`, after which nothing follows). Gives the function that stops it.
 */
export function follow(path, { onPiece, onOpen, onState }) {
  const stopping = new AbortController();
  const reader = new Reader(path, { onPiece, onOpen, onState }, stopping.signal);
  reader.run();
  return () => stopping.abort();
}

class Reader {
  #lastId = null;
  #wait = WAIT_MS_MIN;

  constructor(path, handlers, stopped) {
    this.path = path;
    this.handlers = handlers;
    this.stopped = stopped;
  }

  async run() {
    while (!this.stopped.aborted) {
      let reason = 'the connection ended';
      try {
        if (await this.#readOnce()) return;
      } catch (error) {
        if (this.stopped.aborted) return;
        if (error instanceof ApiError && !error.mayPass) return this.handlers.onState('failed', error);
        reason = error.message;
      }
      if (this.stopped.aborted) return;
      this.handlers.onState('again', reason);
      await this.#pause();
    }
  }

  /** Whether the stream came to its end. */
  async #readOnce() {
    const broken = new AbortController();
    const stop = () => broken.abort();
    this.stopped.addEventListener('abort', stop, { once: true });
    let silence = setTimeout(stop, SILENCE_MS_MAX);
    try {
      const headers = { Accept: 'text/event-stream', ...(this.#lastId ? { 'Last-Event-ID': this.#lastId } : {}) };
      const answer = await get(this.path, headers, broken.signal);
      this.handlers.onState('live');
      this.handlers.onOpen?.();
      const pieces = new Pieces();
      const texts = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await texts.read();
        if (done) return false;
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE_MS_MAX);
        for (const piece of pieces.push(value)) {
          if (this.stopped.aborted) return true;
          this.#wait = WAIT_MS_MIN;
          const isLast = this.handlers.onPiece(piece.name, JSON.parse(piece.data)) === false;
          if (piece.id) this.#lastId = piece.id;
          if (isLast) return true;
        }
      }
    } finally {
      clearTimeout(silence);
      this.stopped.removeEventListener('abort', stop);
      broken.abort();
    }
  }

  /** Longer each time, and not for all who were cut off at the same moment. */
  #pause() {
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, WAIT_MS_MAX);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.stopped.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}
