// Asks for a token.

import { h } from './dom.js';
import { setToken } from './session.js';

const WHERE =
  'It stands in the file that the process named when it started: api.token in its folder node, unless api.token_file of ' +
  'the settings says otherwise. One with the scope read is enough.';

export class SignIn {
  /** `reason` says why, when one was refused; `onDone` when there is one to try. */
  constructor(reason, onDone) {
    this.title = h('h1', { tabindex: '-1' }, 'A token is needed');
    this.problem = h('p', { class: 'problem', id: 'token-problem', role: 'alert' }, reason ?? '');
    this.input = h('input', {
      id: 'token',
      type: 'password',
      autocomplete: 'off',
      spellcheck: 'false',
      required: true,
      'aria-describedby': 'token-where token-problem',
    });
    const form = h(
      'form',
      { class: 'sign-in', onsubmit: (event) => this.#submit(event, onDone) },
      h('label', { for: 'token' }, 'Token'),
      this.input,
      h('button', { type: 'submit' }, 'Show the runs'),
    );
    const hint = h('p', { class: 'hint', id: 'token-where' }, WHERE);
    const kept = h('p', { class: 'hint' }, 'It is kept in this tab only, until the tab is closed.');
    this.element = h('div', null, this.title, this.problem, form, hint, kept);
  }

  close() {}

  #submit(event, onDone) {
    event.preventDefault();
    if (setToken(this.input.value)) return onDone();
    this.problem.textContent = 'That is no token: it has no spaces and only plain characters.';
    this.input.focus();
  }
}
