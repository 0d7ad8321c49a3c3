// Which agents of a run are shown.

import { h } from './dom.js';
import { oneLine } from './text.js';

const OPEN = ['queued', 'running', 'stopping', 'restarting'];
const STATES = [
  ['all', 'All states', () => true],
  ['open', 'Running or queued', (agent) => OPEN.includes(agent.status)],
  ['running', 'Running', (agent) => agent.status !== 'queued' && OPEN.includes(agent.status)],
  ['done', 'Done', (agent) => agent.status === 'done'],
  ['not-done', 'Ended otherwise', (agent) => agent.status !== 'done' && !OPEN.includes(agent.status)],
];

/** Phases that can be chosen from; a script may enter any number. */
const PHASES_MAX = 500;

export class Filter {
  #phases = [];

  constructor(onChange) {
    this.states = h('select', { id: 'filter-state', onchange: onChange }, STATES.map(([value, title]) => h('option', { value }, title)));
    this.phases = h('select', { id: 'filter-phase', onchange: onChange }, h('option', { value: 'all' }, 'All phases'));
    this.element = h(
      'div',
      { class: 'filter' },
      h('label', { for: 'filter-state' }, 'State'),
      this.states,
      h('label', { for: 'filter-phase' }, 'Phase'),
      this.phases,
    );
  }

  /** The phases there are; there only come more, until those without agents go at the end. */
  offer(titles) {
    for (const title of titles.slice(0, PHASES_MAX)) {
      if (this.#phases.includes(title)) continue;
      this.phases.append(h('option', { value: this.#phases.length }, oneLine(title, 60)));
      this.#phases.push(title);
    }
  }

  takes(agent) {
    const [, , fits] = STATES.find(([value]) => value === this.states.value) ?? STATES[0];
    const phase = this.phases.value === 'all' ? null : this.#phases[Number(this.phases.value)];
    return fits(agent) && (phase === null || (agent.phase ?? NO_PHASE) === phase);
  }
}

/** What the server calls the phase of agents that have none. */
const NO_PHASE = '(no phase)';
