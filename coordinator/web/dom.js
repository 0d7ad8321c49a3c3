// Elements are made here and nowhere else: text becomes text, and attributes are few.

import { visible } from './text.js';

/** Attributes that no text of others can misuse. `href` leads to places of this page only. */
const ATTRIBUTES = new Set([
  'class', 'id', 'type', 'role', 'scope', 'tabindex', 'for', 'value', 'hidden', 'title', 'autocomplete', 'spellcheck',
  'required', 'max',
]);

/** An element. Properties beginning with `on` are listeners; children are nodes, texts, or nothing. */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) setProperty(element, name, value);
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

function setProperty(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith('on')) return element.addEventListener(name.slice(2), value);
  const isPlace = name === 'href' && String(value).startsWith('#');
  if (!isPlace && !ATTRIBUTES.has(name) && !name.startsWith('aria-') && !name.startsWith('data-')) {
    throw new Error(`no attribute of this page: ${name}`);
  }
  element.setAttribute(name, value === true ? '' : visible(value));
}

/** Changes the text of an element, if it is another one. */
export function setText(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

/** Changes an attribute, if it is another one; `null` takes it away. */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) setProperty(element, name, value);
}

/** A table with a caption that need not be seen, and the body that rows go into. */
export function table(caption, columns, properties) {
  const head = columns.map(({ title, kind }) => h('th', { scope: 'col', class: kind }, title));
  const body = h('tbody');
  const element = h('table', properties, h('caption', { class: 'unseen' }, caption), h('thead', null, h('tr', null, head)), body);
  return { element, body };
}
