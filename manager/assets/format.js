// Numbers and times for people. Digits line up: what stands in a column has the same number of decimals.

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: '2-digit' });

/** A count. */
export const count = (value) => (value === null || value === undefined ? '–' : WHOLE.format(value));

/** A rate or a mean: two decimals while small, fewer as it grows. */
export function mean(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (value >= 1000) return WHOLE.format(value);
  return value.toFixed(value >= 100 ? 1 : 2);
}

/** Seconds: `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`. */
export function seconds(value) {
  if (value === null || value === undefined) return '–';
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(value % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** How long ago. */
export function ago(unixMs, nowMs) {
  if (!unixMs) return 'never';
  const passed = Math.max(0, (nowMs - unixMs) / 1000);
  return passed < 1.5 ? 'now' : `${seconds(Math.round(passed))} ago`;
}

/** The time of day, with the day where it is another one. */
export function time(unixMs) {
  const at = new Date(unixMs);
  const today = new Date().toDateString() === at.toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

/** `1 topic`, `2 topics`. */
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? '' : 's'}`;

/** A share of a mean: `+12 %`. */
export function over(ratio) {
  const percent = Math.round((ratio - 1) * 100);
  return percent === 0 ? 'even' : `${percent > 0 ? '+' : '−'}${Math.abs(percent)} %`;
}
