// How a run stands, from its events: what each agent does, and the log. Counts of the run and its phases are those of the
// server's own view of it.

import { isEnd } from './status.js';

/** Lines of the log that are kept; there is no end to what a script may say. */
const LINES_MAX = 2000;

export class RunState {
  /** The server's view; `null` until there is one. */
  view = null;
  /** By number, the first at 0. Names are those of the server's `AgentView`. */
  agents = [];
  lines = [];
  /** How many lines there were in all. */
  linesTotal = 0;
  #labels = new Map();
  /** The server's clock less ours, ms. */
  #ahead = 0;

  /** Takes what the server says of the run; a view without a result does not take away the one there is. */
  see(view) {
    if (this.view && isEnd(this.view.status) && !isEnd(view.status)) return;
    this.view = { ...view, result: view.result ?? this.view?.result ?? null };
    this.#ahead = view.started_at_ms + view.elapsed_ms - Date.now();
  }

  /** Takes a view that was asked for: what was told meanwhile may be newer. */
  seeAsked(view) {
    if (!this.view || isEnd(view.status) || view.elapsed_ms >= this.view.elapsed_ms) this.see(view);
  }

  /** Takes the server's own list, which wins. */
  seeAgents(views) {
    this.agents = views.map((view) => ({ started_at_ms: 0, ...this.agents[view.agent - 1], ...view }));
  }

  /** ms since the epoch, by the server's clock. */
  now() {
    return Date.now() + this.#ahead;
  }

  /** Takes an event of the journal; gives the number of the agent it is of, if it is one's. */
  take(event) {
    if (typeof event.line === 'string') this.#keepLine(event.at_ms, event.line);
    if (event.kind === 'agent_queued') this.#queue(event);
    const agent = event.agent === undefined ? undefined : this.agents[event.agent - 1];
    if (agent) change(agent, event);
    return agent?.agent;
  }

  #keepLine(atMs, text) {
    this.linesTotal += 1;
    this.lines.push({ number: this.linesTotal, atMs, text });
    if (this.lines.length > 2 * LINES_MAX) this.lines = this.lines.slice(-LINES_MAX);
  }

  /** The newest lines. */
  lastLines() {
    return this.lines.slice(-LINES_MAX);
  }

  #queue(event) {
    // Agents are numbered in the order of the journal, so one that is known came before.
    if (event.agent !== this.agents.length + 1) return;
    const label = event.label ?? '';
    const times = (this.#labels.get(label) ?? 0) + 1;
    this.#labels.set(label, times);
    this.agents.push({
      agent: event.agent,
      label: times > 1 ? `${label} [${times}]` : label,
      phase: event.phase ?? null,
      model: event.model ?? null,
      runner: event.runner ?? '',
      host: event.host ?? null,
      status: 'queued',
      detail: null,
      attempts: 0,
      tokens: 0,
      elapsed_ms: 0,
      started_at_ms: event.at_ms,
    });
  }
}

function change(agent, event) {
  agent.tokens += total(event.usage);
  switch (event.kind) {
    case 'task_started':
      Object.assign(agent, { status: 'running', attempts: event.attempt, started_at_ms: event.at_ms });
      break;
    case 'attempt_ended':
      agent.status = 'queued';
      break;
    case 'agent_interrupted':
      agent.status = event.detail === 'restart' ? 'restarting' : 'stopping';
      break;
    case 'agent_refused':
      Object.assign(agent, { status: 'refused', detail: event.message ?? null });
      break;
    case 'task_ended':
      Object.assign(agent, ended(event), { elapsed_ms: event.elapsed_ms ?? 0 });
      break;
  }
}

function ended(event) {
  if (event.end === 'done') return { status: 'done', detail: null };
  if (event.end === 'run_stopped') return { status: 'stopped', detail: null };
  return { status: event.cause ?? 'failed', detail: event.detail ?? (event.message || null) };
}

function total(usage) {
  if (!usage) return 0;
  return (usage.input ?? 0) + (usage.cache_read ?? 0) + (usage.cache_write ?? 0) + (usage.output ?? 0);
}
