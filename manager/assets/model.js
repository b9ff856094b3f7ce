// All that the stream has told: the workloads as rows, and how the fleet is. Views look here; nothing else keeps a copy.

const KNOWN = 1;
const ACTIVE = 2;
const ZERO_UNKNOWN = 4;
const HEARD = 8;

/** Seconds of one point of a sparkline, and how many there are: ten minutes. */
export const STEP_MS = 15000;
export const POINTS = 40;

export class Model extends EventTarget {
  rows = new Map();
  byName = new Map();
  total = null;
  fleet = null;
  state = 'connecting';
  detail = '';
  lostAt = 0;
  // Counts what views that sort must look at: rows that came or went, and values.
  version = 0;
  shape = 0;
  #ahead = 0;

  /** Now by the manager's clock: the browser's may be wrong. */
  now() {
    return Date.now() + this.#ahead;
  }

  setState(state, detail = '') {
    if (state === this.state && detail === this.detail) return;
    if (state === 'lost' && this.state !== 'lost') this.lostAt = Date.now();
    this.state = state;
    this.detail = detail;
    this.dispatchEvent(new Event('state'));
  }

  take(name, data) {
    if (name === 'fleet') {
      this.fleet = data;
      this.#ahead = data.unixMs - Date.now();
      this.dispatchEvent(new Event('fleet'));
    } else if (name === 'rows') {
      this.#takeRows(data);
      this.dispatchEvent(new Event('rows'));
    }
  }

  #takeRows(data) {
    if (data.reset) {
      this.rows.clear();
      this.byName.clear();
    }
    this.total = data.total;
    for (const whole of data.whole) this.#whole(whole);
    for (const live of data.live) {
      const row = this.rows.get(live[0]);
      if (row) this.#values(row, live);
    }
    for (const id of data.gone) {
      const row = this.rows.get(id);
      this.rows.delete(id);
      if (row && this.byName.get(row.key) === row) this.byName.delete(row.key);
    }
    if (data.reset || data.whole.length || data.gone.length) this.shape += 1;
    this.version += 1;
  }

  #whole([namespace, name, provider, concurrencyTarget, rateTarget, least, most, collector, live]) {
    const id = live[0];
    const key = `${namespace}/${name}`;
    let row = this.rows.get(id);
    if (!row) {
      row = { id, spark: null };
      this.rows.set(id, row);
    }
    Object.assign(row, { namespace, name, key, lower: key.toLowerCase(), provider, concurrencyTarget, rateTarget, least, most });
    row.collector = collector ?? '';
    this.byName.set(key, row);
    this.#values(row, live);
  }

  #values(row, [, flags, inFlight, held, concurrency, rate, wanted]) {
    row.known = (flags & KNOWN) !== 0;
    row.active = (flags & ACTIVE) !== 0;
    // A zero from before, or while an interceptor is missing, is no zero: KEDA is not told it either.
    const zeroCounts = row.known && (flags & ZERO_UNKNOWN) === 0;
    const said = (value) => ((flags & HEARD) !== 0 && (value || zeroCounts) ? value : null);
    Object.assign(row, { inFlight: said(inFlight), held: said(held), concurrency: said(concurrency), rate: said(rate), wanted: said(wanted) });
    row.state = stateOf(row);
    if (row.spark) this.extend(row);
  }

  /** Takes what was before this page looked. */
  seed(row, points) {
    const first = Math.floor(this.now() / STEP_MS) - POINTS + 1;
    const values = new Array(POINTS).fill(null);
    for (const point of points) {
      const at = Math.floor(point.unixMs / STEP_MS) - first;
      if (at >= 0 && at < POINTS && point.known) values[at] = point.inFlight;
    }
    row.spark = { last: first + POINTS - 1, values };
    this.extend(row);
  }

  /** Brings a sparkline up to now. */
  extend(row) {
    const spark = row.spark;
    const slot = Math.floor(this.now() / STEP_MS);
    const value = row.known ? row.inFlight : null;
    for (let passed = Math.min(slot - spark.last, POINTS); passed > 0; passed -= 1) {
      spark.values.shift();
      // What was there at the end of the last step was there when this one began.
      spark.values.push(spark.current ?? null);
    }
    spark.last = Math.max(spark.last, slot);
    const peak = spark.values[POINTS - 1];
    spark.values[POINTS - 1] = value === null ? null : Math.max(value, peak ?? 0);
    spark.current = value;
  }
}

/** How a workload is, in one word; the order is the order of a sort. */
export function stateOf(row) {
  if (!row.known || (!row.active && row.inFlight === null)) return 'unknown';
  if (row.held > 0) return 'held';
  return row.active ? 'active' : 'idle';
}
