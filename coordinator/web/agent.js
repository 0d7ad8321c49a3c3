// One agent: what it was asked, what it said, and what happened to it.

import { getJson } from './api.js';
import { facts, longText, prettyText, problemText } from './blocks.js';
import { h, setText } from './dom.js';
import { count, counted, duration, timeOfDay } from './format.js';
import { coalesced } from './pace.js';
import { statusBadge } from './status.js';
import { oneLine } from './text.js';

/** Asked for again at most so often while it changes, ms. */
const BETWEEN_READINGS = 1000;

export class AgentPanel {
  #closing = new AbortController();
  #soon = coalesced(() => this.#read(), BETWEEN_READINGS);

  /** `onClose` when it is to be closed, `onError` when the token is refused. */
  constructor(run, number, { onClose, onError }) {
    Object.assign(this, { run, number, onError });
    this.title = h('h2', { id: 'agent-title', tabindex: '-1' }, `Agent ${number}`);
    const close = h('button', { type: 'button', class: 'close', onclick: onClose }, 'Close');
    this.content = h('div', { class: 'content' }, h('p', { class: 'hint' }, 'Loading\u2026'));
    this.element = h(
      'section',
      { class: 'part agent-detail', 'aria-labelledby': 'agent-title', id: 'agent' },
      h('div', { class: 'part-head' }, this.title, close),
      this.content,
    );
    this.element.addEventListener('keydown', (event) => event.key === 'Escape' && onClose());
    this.#read();
  }

  /** Something happened to the agent. */
  changed() {
    this.#soon();
  }

  close() {
    this.#closing.abort();
    this.#soon.stop();
  }

  async #read() {
    try {
      this.#show(await getJson(`/runs/${this.run}/agents/${this.number}/record`, this.#closing.signal));
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      if (error.isStranger) return this.onError(error);
      this.content.replaceChildren(problemText(error));
    }
  }

  #show(record) {
    const agent = record.agent;
    setText(this.title, `Agent ${agent.agent}: ${oneLine(agent.label, 120)}`);
    // What somebody is reading stays in its place.
    const scrolled = [...this.content.querySelectorAll('pre')].map((pre) => pre.scrollTop);
    const focused = [...this.content.querySelectorAll('[tabindex]')].indexOf(document.activeElement);
    this.content.replaceChildren(agentFacts(agent), ...parts(record));
    this.content.querySelectorAll('pre').forEach((pre, index) => (pre.scrollTop = scrolled[index] ?? 0));
    this.content.querySelectorAll('[tabindex]')[focused]?.focus({ preventScroll: true });
  }
}

function agentFacts(agent) {
  return facts([
    ['State', statusBadge(agent.status)],
    ['Detail', agent.detail],
    ['Phase', agent.phase],
    ['Model', agent.model],
    ['Runner', agent.runner],
    ['Host', agent.host],
    ['Attempts', count(agent.attempts)],
    ['Tokens', count(agent.tokens)],
    ['Time', duration(agent.elapsed_ms)],
  ]);
}

function parts(record) {
  const text = (id, title, value) => value && part(id, title, longText(title, prettyText(value)));
  return [
    text('prompt', 'Prompt', record.prompt),
    text('output', 'Result', record.output),
    text('output-refused', 'Last answer, which does not fit the schema', record.output_refused),
    part('attempts', `What happened (${counted(record.agent.attempts, 'attempt')})`, [happened(record.attempts_log)]),
    record.notes.length > 0 && part('notes', 'Notes', [h('ul', null, record.notes.map((note) => h('li', { class: 'said' }, note)))]),
    text('schema', 'Schema', record.schema),
  ].filter(Boolean);
}

function part(id, title, children) {
  return h('section', { class: `sub ${id}` }, h('h3', null, title), children);
}

function happened(lines) {
  if (lines.length === 0) return h('p', { class: 'hint' }, 'Nothing yet: it waits.');
  const line = ({ at_ms: atMs, text }) =>
    h('li', null, h('span', { class: 'at' }, timeOfDay(atMs)), h('span', { class: 'said' }, text));
  return h('ol', { class: 'happened' }, lines.map(line));
}
