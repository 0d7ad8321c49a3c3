// Blocks that several views consist of.

import { h } from './dom.js';
import { count } from './format.js';

/** Characters of a long text that are shown: a browser has to lay them out. */
const TEXT_MAX = 200_000;

/** A list of facts: pairs of a name and what is there; those without anything are left out. */
export function facts(pairs) {
  const there = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', { class: 'facts' }, there.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
}

/** A long text of others, as it is. It scrolls, so the keyboard gets there. */
export function longText(name, text) {
  const shown = text.length > TEXT_MAX ? text.slice(0, TEXT_MAX) : text;
  const block = h('pre', { class: 'long', tabindex: '0', role: 'group', 'aria-label': name }, shown);
  const rest = text.length - shown.length;
  return rest > 0 ? [block, h('p', { class: 'hint' }, `${count(rest)} more characters are not shown.`)] : [block];
}

/** A heading with what belongs to it. */
export function section(id, title, ...children) {
  return h('section', { 'aria-labelledby': `${id}-title`, class: `part ${id}` }, h('h2', { id: `${id}-title` }, title), children);
}

/** JSON as people read it; what is none stays as it is. */
export function pretty(value) {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}

/** A text that may be JSON, laid out when it is. */
export function prettyText(text) {
  if (text.length > TEXT_MAX || !/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Something went wrong, in words. */
export function problemText(error) {
  return h('p', { class: 'problem', role: 'alert' }, h('span', { 'aria-hidden': 'true' }, '\u26a0 '), error.message);
}
