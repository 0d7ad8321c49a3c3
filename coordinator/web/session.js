// The token of who looks: kept for this tab only, and never in its address.

const KEY = 'skein.token';
/** In the address behind `#`, from where it never goes to a server. */
const IN_ADDRESS = '#token=';

/** Takes a token out of the address, before anything else is done. */
export function takeFromAddress() {
  if (!location.hash.startsWith(IN_ADDRESS)) return;
  const written = location.hash.slice(IN_ADDRESS.length);
  history.replaceState(null, '', location.pathname + location.search);
  setToken(decoded(written));
}

function decoded(written) {
  try {
    return decodeURIComponent(written);
  } catch {
    return written;
  }
}

export function token() {
  return sessionStorage.getItem(KEY);
}

/** Whether it can be a token at all: what a header may carry. */
export function setToken(text) {
  const trimmed = text.trim();
  const fits = /^[\x21-\x7e]{1,512}$/.test(trimmed);
  if (fits) sessionStorage.setItem(KEY, trimmed);
  return fits;
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}
