// How runs and agents stand: a sign and a word, so that no colour is needed to know it.

import { h, setText } from './dom.js';

/** Sign and manner of each word; what is not known here is shown with its word alone. */
const WORDS = {
  queued: ['\u25cb', 'waits'],
  running: ['\u25d0', 'moves'],
  waiting: ['\u25cb', 'waits'],
  pausing: ['\u2016', 'held'],
  paused: ['\u2016', 'held'],
  stopping: ['\u25a0', 'held'],
  restarting: ['\u21bb', 'moves'],
  interrupted: ['\u26a0', 'held'],
  completed: ['\u2713', 'good'],
  done: ['\u2713', 'good'],
  degraded: ['\u26a0', 'held'],
  failed: ['\u2717', 'bad'],
  stopped: ['\u25a0', 'ended'],
  skipped: ['\u00bb', 'ended'],
  reused: ['\u21ba', 'good'],
  refused: ['\u2298', 'bad'],
  lost: ['\u2717', 'bad'],
  stalled: ['\u2717', 'bad'],
  timed_out: ['\u2717', 'bad'],
  denied: ['\u2298', 'bad'],
  output_too_large: ['\u2717', 'bad'],
};

/** An element that shows a status; `showStatus` changes it. */
export function statusBadge(word) {
  const badge = h('span', { class: 'status' }, h('span', { class: 'sign', 'aria-hidden': 'true' }), h('span', { class: 'word' }));
  showStatus(badge, word);
  return badge;
}

export function showStatus(badge, word) {
  const [sign, manner] = WORDS[word] ?? ['\u2022', 'ended'];
  if (badge.dataset.manner !== manner) badge.dataset.manner = manner;
  setText(badge.firstChild, sign);
  setText(badge.lastChild, String(word).replaceAll('_', ' '));
}

/** The word for a run: one that is complete though agents were lost says so. */
export function runWord(run) {
  return run.degraded ? 'degraded' : run.status;
}

/** Whether nothing will change any more. */
export function isEnd(status) {
  return status === 'completed' || status === 'failed' || status === 'stopped';
}
