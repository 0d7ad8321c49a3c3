// One run: how it stands, its phases, its agents, its log, its result; and one of its agents beside them.

import { AgentPanel } from './agent.js';
import { AgentsTable } from './agents_table.js';
import { getJson } from './api.js';
import { facts, longText, pretty, problemText, section } from './blocks.js';
import { h, setText, table } from './dom.js';
import { count, counted, dateTime, duration } from './format.js';
import { Filter } from './filter.js';
import { Logs } from './logs.js';
import { coalesced } from './pace.js';
import { RunState } from './run_state.js';
import { isEnd, runWord, showStatus, statusBadge } from './status.js';
import { follow } from './stream.js';
import { oneLine } from './text.js';

/** So often times that pass are drawn, ms. */
const BETWEEN_TICKS = 1000;

const PHASE_COLUMNS = [
  { title: 'Phase', kind: 'name' },
  { title: 'Done', kind: 'number' },
  { title: 'Running', kind: 'number' },
  { title: 'Queued', kind: 'number wide' },
  { title: 'Failed', kind: 'number' },
  { title: 'Agents', kind: 'number' },
  { title: 'Tokens', kind: 'number wide' },
  { title: 'Time', kind: 'number wide' },
];

export class RunView {
  #state = new RunState();
  #closing = new AbortController();
  #draw = coalesced(() => this.#drawNow());
  #panel = null;
  #drawnEnd = false;

  constructor(run, shell) {
    Object.assign(this, { run, shell });
    this.agents = new AgentsTable((number) => `#/runs/${run}/agents/${number}`);
    this.filter = new Filter(() => this.#draw());
    this.logs = new Logs();
    this.#build();
    this.#load();
    this.stop = follow(`/runs/${run}/events`, {
      onPiece: (name, data) => this.#take(name, data),
      onOpen: () => this.#load(),
      onState: (state, reason) => this.#connection(state, reason),
    });
    this.ticks = setInterval(() => this.#tick(), BETWEEN_TICKS);
  }

  /** Shows this agent beside the run; `null` for none. */
  showAgent(number) {
    const before = this.#panel?.number ?? null;
    if (before === number) return;
    this.#panel?.close();
    this.#panel?.element.remove();
    this.#panel = number === null ? null : new AgentPanel(this.run, number, this.#panelHandlers());
    this.agents.choose(number);
    this.split.classList.toggle('with-agent', number !== null);
    if (this.#panel) {
      this.split.append(this.#panel.element);
      this.#panel.title.focus();
    } else if (before !== null) {
      this.agents.focus(before);
    }
  }

  close() {
    this.stop();
    this.#closing.abort();
    this.#draw.stop();
    clearInterval(this.ticks);
    this.#panel?.close();
    this.agents.close();
  }

  #panelHandlers() {
    return { onClose: () => (location.hash = `#/runs/${this.run}`), onError: (error) => this.shell.refused(error) };
  }

  #build() {
    this.title = h('h1', { tabindex: '-1' }, 'Run');
    this.badge = statusBadge('');
    this.about = h('p', { class: 'about' });
    this.progress = h('progress', { 'aria-label': 'Agents that ended', max: 1, value: 0 });
    this.facts = h('div');
    this.outcome = h('div');
    const phases = table('Phases of this run', PHASE_COLUMNS, { class: 'phases', id: 'phases' });
    this.phaseRows = phases.body;
    this.shown = h('p', { class: 'hint', id: 'agents-shown' });
    this.split = h(
      'div',
      { class: 'split' },
      section('agents-part', 'Agents', this.filter.element, this.shown, this.agents.element),
    );
    this.element = h(
      'div',
      { class: 'run' },
      h('nav', { 'aria-label': 'Where you are' }, h('a', { href: '#/' }, '\u2039 All runs')),
      h('div', { class: 'title' }, this.title, this.badge),
      this.about,
      this.progress,
      this.facts,
      this.outcome,
      section('phases-part', 'Phases', h('div', { class: 'sideways' }, phases.element)),
      this.split,
      section('logs-part', 'Log', this.logs.element),
    );
  }

  /** All of the run, its result among it. */
  async #load() {
    try {
      this.#state.seeAsked(await getJson(`/runs/${this.run}`, this.#closing.signal));
      this.#draw();
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#refused(error);
    }
  }

  async #atEnd(view) {
    this.#state.see(view);
    await this.#load();
    try {
      this.#state.seeAgents(await getJson(`/runs/${this.run}/agents`, this.#closing.signal));
      this.#draw();
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#refused(error);
    }
  }

  #refused(error) {
    if (error.isStranger) this.shell.refused(error);
    else if (error.mayPass) this.#connection('again', error.message);
    else this.element.replaceChildren(h('h1', { tabindex: '-1' }, 'Run'), problemText(error), h('p', null, h('a', { href: '#/' }, 'All runs')));
  }

  #take(name, data) {
    if (name === 'journal' && this.#state.take(data) === this.#panel?.number) this.#panel?.changed();
    if (name === 'view') this.#state.see(data);
    this.#draw();
    if (name !== 'end') return true;
    this.#panel?.changed();
    this.#atEnd(data);
    this.shell.connection('ended');
    return false;
  }

  #connection(state, reason) {
    if (state === 'failed') this.#refused(reason);
    else this.shell.connection(state, reason);
  }

  #tick() {
    const view = this.#state.view;
    if (view && !isEnd(view.status)) this.#draw();
  }

  #drawNow() {
    const view = this.#state.view;
    if (!view) return;
    this.#drawHead(view);
    this.#drawPhases(view.phases);
    this.filter.offer(view.phases.map((phase) => phase.title));
    const shown = this.#state.agents.filter((agent) => this.filter.takes(agent));
    this.agents.show(shown, this.#state.now());
    setText(this.shown, shownText(shown.length, this.#state.agents.length, view.agents.reused));
    this.logs.show(this.#state.lastLines(), this.#state.linesTotal);
    this.#tell(view);
  }

  #drawHead(view) {
    const word = runWord(view);
    setText(this.title, oneLine(view.workflow) || 'Run');
    this.shell.title(`${oneLine(view.workflow, 60)} \u2013 ${word}`);
    showStatus(this.badge, word);
    setText(this.about, view.description ?? '');
    const { started, queued, running } = view.agents;
    this.progress.max = Math.max(1, started);
    this.progress.value = started - queued - running;
    this.facts.replaceChildren(runFacts(view, this.#state.now()));
    if (isEnd(view.status) && !(this.#drawnEnd && view.result === this.#drawnEnd.result)) {
      this.#drawnEnd = view;
      this.outcome.replaceChildren(...outcome(view));
    }
  }

  #drawPhases(phases) {
    while (this.phaseRows.childElementCount > phases.length) this.phaseRows.lastElementChild.remove();
    phases.forEach((phase, index) => {
      const row = this.phaseRows.children[index] ?? this.phaseRows.appendChild(phaseRow());
      const { done, running, queued, failed, agents, tokens } = phase;
      const texts = [oneLine(phase.title), ...[done, running, queued, failed, agents, tokens].map(count), duration(phase.elapsed_ms)];
      texts.forEach((text, column) => setText(row.children[column], text));
    });
  }

  #tell(view) {
    const { started, queued, running, failed } = view.agents;
    const lost = failed > 0 ? `, ${count(failed)} failed` : '';
    const text = `Run ${runWord(view)}: ${count(started - queued - running)} of ${counted(started, 'agent')} ended${lost}.`;
    if (isEnd(view.status)) this.shell.announcer.sayNow(text);
    else this.shell.announcer.say(text);
  }
}

function phaseRow() {
  const [first, ...rest] = PHASE_COLUMNS;
  return h('tr', null, h('th', { scope: 'row', class: first.kind }), rest.map(({ kind }) => h('td', { class: kind })));
}

function runFacts(view, now) {
  const { agents, tokens } = view;
  const some = (number) => (number > 0 ? count(number) : null);
  const elapsed = isEnd(view.status) ? view.elapsed_ms : Math.max(0, now - view.started_at_ms);
  return facts([
    ['Agents', h('span', { id: 'count-started' }, count(agents.started))],
    ['Done', h('span', { id: 'count-done' }, count(agents.done))],
    ['Running', h('span', { id: 'count-running' }, count(agents.running))],
    ['Queued', h('span', { id: 'count-queued' }, count(agents.queued))],
    ['Failed', h('span', { id: 'count-failed' }, count(agents.failed))],
    ['Skipped', some(agents.skipped)],
    ['Stopped', some(agents.stopped)],
    ['Refused', some(agents.refused)],
    ['Reused', some(agents.reused)],
    ['Tokens', h('span', { id: 'count-tokens' }, tokens.budget ? `${count(tokens.total)} of ${count(tokens.budget)}` : count(tokens.total))],
    ['Time', duration(elapsed)],
    ['Started', dateTime(view.started_at_ms)],
    ['Run', h('code', null, view.run)],
  ]);
}

function shownText(shown, all, reused) {
  const some = shown < all ? `${count(shown)} of ${counted(all, 'agent')}` : counted(all, 'agent');
  const more = reused > 0 ? ` ${counted(reused, 'result')} of an earlier run used again.` : '';
  return `${some}. Arrow keys go from row to row, Enter opens one.${more}`;
}

function outcome(view) {
  const list = (id, title, lines) =>
    lines.length > 0 && section(id, title, h('ul', null, lines.map((line) => h('li', { class: 'said' }, line))));
  const error = view.error && section('error', 'Error', longText('Error', errorText(view.error)));
  const result = view.result !== null && view.status === 'completed';
  return [
    error,
    result && section('result', 'Result', longText('Result', pretty(view.result))),
    list('failures', 'Failures', view.failures),
    list('warnings', 'Warnings', view.warnings),
  ].filter(Boolean);
}

function errorText({ kind, message, line, column, source_line: source, stack }) {
  const place = line ? ` (line ${line}${column ? `, column ${column}` : ''})` : '';
  return [`${kind}: ${message}${place}`, source, stack].filter(Boolean).join('\n');
}
