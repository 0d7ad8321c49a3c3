// The log of a run, its newest lines. It follows them until somebody looks further up.

import { h, setText } from './dom.js';
import { count, timeOfDay } from './format.js';

/** px from the bottom that still count as being there. */
const NEAR = 40;

export class Logs {
  #shown = 0;

  constructor() {
    this.list = h('div', { class: 'lines', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log lines', id: 'logs' });
    this.hint = h('p', { class: 'hint' });
    this.element = h('div', null, this.hint, this.list);
  }

  /** Shows the newest of these lines, of so many that there were. */
  show(lines, total) {
    setText(this.hint, hint(lines.length, total));
    if (total === this.#shown) return;
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    const follows = scrollTop + clientHeight >= scrollHeight - NEAR;
    const fresh = lines.filter((line) => line.number > this.#shown).map(element);
    this.list.append(...fresh);
    while (this.list.childElementCount > lines.length) this.list.firstElementChild.remove();
    this.#shown = total;
    if (follows) this.list.scrollTop = this.list.scrollHeight;
  }
}

function hint(shown, total) {
  if (total === 0) return 'The script has logged nothing yet.';
  return shown < total ? `The last ${count(shown)} of ${count(total)} lines; skein logs prints all.` : '';
}

function element({ atMs, text }) {
  return h('div', { class: 'line' }, h('span', { class: 'at' }, timeOfDay(atMs)), h('span', { class: 'said' }, text));
}
