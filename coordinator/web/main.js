// The page: which view is shown, and what all of them share.

import { Announcer } from './pace.js';
import { RunView } from './run.js';
import { RunsView } from './runs.js';
import { forgetToken, takeFromAddress, token } from './session.js';
import { SignIn } from './sign_in.js';

const CONNECTION = { live: '\u25cf live', ended: '\u2713 ended', again: '\u25cb connecting again', none: '' };

const main = document.getElementById('main');
const connection = document.getElementById('connection');
const forget = document.getElementById('forget');

/** What views may ask of the page. */
const shell = {
  announcer: new Announcer(document.getElementById('announcer')),
  title(text) {
    const title = `${text} \u2013 Skein`;
    if (document.title !== title) document.title = title;
  },
  connection(state, reason) {
    const text = CONNECTION[state] ?? '';
    if (connection.textContent !== text) connection.textContent = text;
    connection.title = typeof reason === 'string' ? reason : '';
    connection.dataset.state = state;
    if (state === 'again') shell.announcer.say(`Not connected: ${reason}. Connecting again.`);
  },
  /** The token is refused: another one is needed. */
  refused(error) {
    forgetToken();
    show('sign-in', () => new SignIn(error.message, route));
    view.input.focus();
  },
};

let place = null;
let view = null;

/** Shows a view, unless it is there already. */
function show(newPlace, make) {
  if (place === newPlace) return false;
  view?.close();
  shell.connection('none');
  shell.announcer.sayNow('');
  const isFirst = place === null;
  place = newPlace;
  view = make();
  main.replaceChildren(view.element);
  forget.hidden = token() === null;
  // Who came here by a link of the page begins at its heading.
  if (!isFirst) view.element.querySelector('h1')?.focus();
  return true;
}

function route() {
  takeFromAddress();
  if (token() === null) {
    show('sign-in', () => new SignIn(null, route));
    shell.title('A token is needed');
    return view.input.focus();
  }
  const [, run, agent] = location.hash.match(/^#\/runs\/([\w-]{1,64})(?:\/agents\/(\d{1,9}))?$/) ?? [];
  if (run === undefined) return show('runs', () => new RunsView(shell));
  show(`run ${run}`, () => new RunView(run, shell));
  view.showAgent(agent === undefined ? null : Number(agent));
}

document.getElementById('skip').addEventListener('click', (event) => {
  // Its place is no address of a view.
  event.preventDefault();
  main.focus();
});
forget.addEventListener('click', () => {
  forgetToken();
  route();
});
addEventListener('hashchange', route);
route();
