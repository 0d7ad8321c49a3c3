// The agents of a run: however many there are, only the rows that are seen are in the page. One row is reached with Tab,
// the others from it with the arrow keys.

import { h, setAttribute, setText, table } from './dom.js';
import { count, duration } from './format.js';
import { showStatus, statusBadge } from './status.js';
import { oneLine } from './text.js';

/** Rows beyond what is seen, on both sides. */
const MORE_ROWS = 8;
/** px, until a row was measured. */
const ROW_HEIGHT = 33;

const COLUMNS = [
  { title: '#', kind: 'number narrow' },
  { title: 'Agent', kind: 'name' },
  { title: 'State', kind: 'state' },
  { title: 'Phase', kind: 'wide' },
  { title: 'Model', kind: 'wide' },
  { title: 'Attempts', kind: 'number wide' },
  { title: 'Tokens', kind: 'number' },
  { title: 'Time', kind: 'number' },
];

export class AgentsTable {
  #agents = [];
  #now = 0;
  #rows = new Map();
  #active = 0;
  #chosen = null;
  #rowHeight = ROW_HEIGHT;

  /** `placeOf` gives where an agent is shown, from its number. */
  constructor(placeOf) {
    this.placeOf = placeOf;
    const { element, body } = table('Agents of this run', COLUMNS, { class: 'agents', id: 'agents' });
    this.table = element;
    this.body = body;
    this.above = h('tr', { class: 'space', 'aria-hidden': 'true' }, h('td'));
    this.below = this.above.cloneNode(true);
    body.append(this.above, this.below);
    body.addEventListener('keydown', (event) => this.#onKey(event));
    body.addEventListener('focusin', (event) => this.#onFocus(event));
    this.element = h('div', { class: 'scroller', onscroll: () => this.draw() }, element);
    this.resizes = new ResizeObserver(() => this.draw());
    this.resizes.observe(this.element);
  }

  close() {
    this.resizes.disconnect();
  }

  /** Shows these agents. */
  show(agents, now) {
    this.#agents = agents;
    this.#now = now;
    this.draw();
  }

  /** Marks the agent whose detail is shown; `null` for none. */
  choose(number) {
    this.#chosen = number;
    this.draw();
  }

  /** Leads the keyboard to an agent, if it is among those that are shown. */
  focus(number) {
    const index = this.#agents.findIndex((agent) => agent.agent === number);
    if (index >= 0) this.#goTo(index);
  }

  draw() {
    const [from, to] = this.#window();
    const inside = this.body.contains(document.activeElement);
    for (const [index, row] of this.#rows) {
      if (index >= from && index < to) continue;
      row.element.remove();
      this.#rows.delete(index);
    }
    let before = this.above;
    for (let index = from; index < to; index += 1) {
      const row = this.#rows.get(index) ?? this.#newRow(index, before);
      this.#fill(row, this.#agents[index]);
      before = row.element;
    }
    this.#active = Math.max(from, Math.min(this.#active, to - 1));
    for (const [index, row] of this.#rows) setAttribute(row.link, 'tabindex', index === this.#active ? '0' : '-1');
    // The row with the keyboard went out of sight: the nearest one has it.
    if (inside && !this.body.contains(document.activeElement)) this.#rows.get(this.#active)?.link.focus({ preventScroll: true });
    this.above.style.height = `${from * this.#rowHeight}px`;
    this.below.style.height = `${(this.#agents.length - to) * this.#rowHeight}px`;
    setAttribute(this.table, 'aria-rowcount', this.#agents.length + 1);
    const measured = this.#rows.get(from)?.element.getBoundingClientRect().height;
    if (measured > 0) this.#rowHeight = measured;
  }

  #window() {
    const first = Math.floor(this.element.scrollTop / this.#rowHeight) - MORE_ROWS;
    const seen = Math.ceil(this.element.clientHeight / this.#rowHeight) + 2 * MORE_ROWS;
    const from = Math.max(0, Math.min(first, this.#agents.length - seen));
    return [from, Math.min(this.#agents.length, from + seen)];
  }

  #newRow(index, before) {
    const cells = COLUMNS.map(({ kind }) => h('td', { class: kind }));
    const link = h('a', { href: '#/', class: 'row-link', 'data-index': index });
    const badge = statusBadge('');
    cells[1].append(link);
    cells[2].append(badge);
    const element = h('tr', { class: 'agent', 'aria-rowindex': index + 2 }, cells);
    before.after(element);
    const row = { element, cells, link, badge };
    this.#rows.set(index, row);
    return row;
  }

  #fill({ element, cells, link, badge }, agent) {
    const runs = agent.status === 'running' || agent.status === 'stopping' || agent.status === 'restarting';
    const elapsed = runs ? Math.max(0, this.#now - agent.started_at_ms) : agent.elapsed_ms;
    setText(cells[0], String(agent.agent));
    setText(link, oneLine(agent.label) || `agent ${agent.agent}`);
    setAttribute(link, 'href', this.placeOf(agent.agent));
    showStatus(badge, agent.status);
    setAttribute(badge, 'title', agent.detail ? oneLine(agent.detail) : null);
    setText(cells[3], oneLine(agent.phase ?? '', 100));
    setText(cells[4], oneLine(agent.model ?? agent.runner, 100));
    setText(cells[5], agent.attempts > 0 ? String(agent.attempts) : '');
    setText(cells[6], agent.tokens > 0 ? count(agent.tokens) : '');
    setText(cells[7], agent.status === 'queued' ? '' : duration(elapsed));
    setAttribute(element, 'data-status', agent.status);
    setAttribute(link, 'aria-current', agent.agent === this.#chosen ? 'true' : null);
  }

  #onFocus(event) {
    const index = Number(event.target.dataset?.index);
    if (!Number.isInteger(index) || index === this.#active) return;
    this.#active = index;
    this.draw();
  }

  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#rowHeight) - 2);
    const last = this.#agents.length - 1;
    const to = {
      ArrowDown: this.#active + 1,
      ArrowUp: this.#active - 1,
      PageDown: this.#active + page,
      PageUp: this.#active - page,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#goTo(Math.max(0, Math.min(to, last)));
  }

  #goTo(index) {
    const top = index * this.#rowHeight;
    const head = this.table.tHead.getBoundingClientRect().height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    if (top + this.#rowHeight + head > scrollTop + clientHeight) {
      this.element.scrollTop = top + this.#rowHeight + head - clientHeight;
    }
    this.#active = index;
    this.draw();
    this.#rows.get(index)?.link.focus({ preventScroll: true });
  }
}
