// Numbers as people read them.

/** `83000` as `1m 23s`, as the commands do. */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, '0');
  if (seconds < 60) return `${seconds}.${Math.floor((ms % 1000) / 100)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h ${two(Math.floor((seconds % 3600) / 60))}m`;
}

/** `12345` as `12,345`. */
export function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Day and time of day, here. */
export function dateTime(ms) {
  return `${date(ms)} ${timeOfDay(ms)}`;
}

/** Time of day, here. */
export function timeOfDay(ms) {
  const time = new Date(ms);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

function date(ms) {
  const time = new Date(ms);
  return [time.getFullYear(), time.getMonth() + 1, time.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
}

/** `1 agent`, `2 agents`. */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
