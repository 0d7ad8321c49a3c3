// What scripts, models and programs wrote is shown as it is: nothing in it acts, and nothing in it hides.

/** Control characters, and those that turn, hide or join text. New lines and tabs are left as they are. */
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** The text with signs in the place of what cannot be seen. */
export function visible(text) {
  return String(text).replaceAll('\r\n', '\n').replace(UNSEEN, sign);
}

function sign(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return '\u2421';
  return `\u27e8${code.toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
}

/** Its beginning in one line. */
export function oneLine(text, charactersMax = 300) {
  const beginning = String(text).slice(0, charactersMax + 1);
  const shown = visible(beginning).replaceAll('\n', '\u21b5').replaceAll('\t', ' ');
  return beginning.length > charactersMax ? `${shown.slice(0, charactersMax)}\u2026` : shown;
}
