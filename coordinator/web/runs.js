// All runs, the newest first, as they begin, go on and end.

import { get } from './api.js';
import { problemText } from './blocks.js';
import { h, setText, table } from './dom.js';
import { count, counted, dateTime, duration } from './format.js';
import { coalesced } from './pace.js';
import { isEnd, runWord, showStatus, statusBadge } from './status.js';
import { follow } from './stream.js';
import { oneLine } from './text.js';

const PAGE = 50;
/** Runs of other processes are not told of as they change: the list is read again now and then, ms. */
const BETWEEN_READINGS = 30_000;

const COLUMNS = [
  { title: 'Workflow', kind: 'name' },
  { title: 'State', kind: 'state' },
  { title: 'Agents', kind: 'number' },
  { title: 'Tokens', kind: 'number wide' },
  { title: 'Time', kind: 'number' },
  { title: 'Started', kind: 'time' },
  { title: 'Run', kind: 'wide id' },
];

export class RunsView {
  #runs = new Map();
  #rows = new Map();
  #older = null;
  #closing = new AbortController();
  #draw = coalesced(() => this.#drawNow());
  #loaded = false;

  constructor(shell) {
    this.shell = shell;
    const { element, body } = table('Runs, the newest first', COLUMNS, { class: 'runs', id: 'runs' });
    this.body = body;
    this.hint = h('p', { class: 'hint' }, 'Loading\u2026');
    this.problem = h('div');
    this.more = h('button', { type: 'button', hidden: true, onclick: () => this.#loadOlder() }, 'Show older runs');
    this.title = h('h1', { tabindex: '-1' }, 'Runs');
    this.table = h('div', { class: 'sideways', hidden: true }, element);
    this.element = h('div', null, this.title, this.hint, this.problem, this.table, this.more);
    shell.title('Runs');
    this.stop = follow('/events', {
      onPiece: (name, data) => this.#take(name, data),
      onOpen: () => this.#load(),
      onState: (state, reason) => (state === 'failed' ? this.#refused(reason) : shell.connection(state, reason)),
    });
    this.readings = setInterval(() => document.hidden || this.#load(), BETWEEN_READINGS);
  }

  close() {
    this.stop();
    this.#closing.abort();
    this.#draw.stop();
    clearInterval(this.readings);
  }

  /** The newest runs. What changes meanwhile comes with the stream. */
  async #load() {
    await this.#read(`?limit=${PAGE}`, (next) => {
      if (!this.#loaded) this.#older = next;
      this.#loaded = true;
    });
  }

  async #loadOlder() {
    await this.#read(this.#older, (next) => (this.#older = next));
  }

  async #read(query, onNext) {
    try {
      const answer = await get(`/runs${query}`, {}, this.#closing.signal);
      for (const run of await answer.json()) this.#see(run);
      onNext(nextPage(answer.headers.get('Link')));
      this.problem.replaceChildren();
      this.#draw();
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#refused(error);
    }
  }

  /** Takes what was asked for: what was told meanwhile may be newer. */
  #see(run) {
    const known = this.#runs.get(run.run);
    if (!known || isEnd(run.status) || run.elapsed_ms >= known.elapsed_ms) this.#runs.set(run.run, run);
  }

  #refused(error) {
    if (error.isStranger) this.shell.refused(error);
    else this.problem.replaceChildren(problemText(error));
  }

  #take(name, data) {
    if (name === 'run') {
      this.#runs.set(data.run, data);
      this.#draw();
    }
    if (name === 'missed') this.#load();
    return true;
  }

  #drawNow() {
    const runs = [...this.#runs.values()].sort(newestFirst);
    runs.forEach((run, index) => {
      const row = this.#rows.get(run.run) ?? this.#newRow(run.run);
      fill(row, run);
      const there = this.body.children[index];
      if (there !== row.element) this.body.insertBefore(row.element, there ?? null);
    });
    const open = runs.filter((run) => !isEnd(run.status)).length;
    this.table.hidden = runs.length === 0;
    this.more.hidden = this.#older === null;
    setText(this.hint, runs.length === 0 ? NONE : `${counted(runs.length, 'run')} shown, ${count(open)} of them not ended.`);
    if (this.#loaded) this.shell.announcer.say(`${counted(runs.length, 'run')} shown, ${count(open)} of them not ended.`);
  }

  #newRow(run) {
    const link = h('a', { href: `#/runs/${run}` });
    const badge = statusBadge('');
    const cells = COLUMNS.slice(1).map(({ kind }) => h('td', { class: kind }));
    cells[0].append(badge);
    const element = h('tr', { 'data-run': run }, h('th', { scope: 'row', class: 'name' }, link), cells);
    const row = { element, link, badge, cells };
    this.#rows.set(run, row);
    return row;
  }
}

const NONE = 'There are no runs yet. Start one with: skein run FILE --detach';

function fill({ link, badge, cells }, run) {
  const { agents, tokens } = run;
  const ended = agents.started - agents.queued - agents.running;
  setText(link, oneLine(run.workflow, 120) || run.run);
  showStatus(badge, runWord(run));
  setText(cells[1], ended < agents.started ? `${count(ended)} of ${count(agents.started)}` : count(agents.started));
  setText(cells[2], count(tokens.total));
  setText(cells[3], duration(run.elapsed_ms));
  setText(cells[4], dateTime(run.started_at_ms));
  setText(cells[5], run.run);
}

function newestFirst(one, other) {
  return other.started_at_ms - one.started_at_ms || (one.run < other.run ? 1 : -1);
}

/** `?cursor=…` of the header `Link`, if there are more. */
function nextPage(link) {
  return link?.match(/^<(\?[^>]*)>; rel="next"/)?.[1] ?? null;
}
