// Charts and sparklines, drawn as SVG.

import { attribute, h, s } from './dom.js';
import { time } from './format.js';

const HEIGHT = 170;
const LEFT = 40;
const BOTTOM = 20;
const TOP = 8;
const HOUR_MS = 3600000;
const STEP_MS = 15000;
// What a chart shows at least, and what is written below it.
const SPANS = [[6, [6, 4, 2, 0]], [15, [15, 10, 5, 0]], [30, [30, 20, 10, 0]], [60, [60, 45, 30, 15, 0]]];

/** The next round number at or above. */
export function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value - power * 1e-9);
}

/** Lines through values; a null is a gap. `at(i)` and `up(value)` give the place. */
function lines(values, at, up) {
  let path = '';
  let pen = false;
  values.forEach((value, i) => {
    if (value === null) {
      pen = false;
      return;
    }
    path += `${pen ? 'L' : 'M'}${at(i).toFixed(1)} ${up(value).toFixed(1)}`;
    // A point between two gaps is seen, too.
    if (!pen && (values[i + 1] ?? null) === null) path += 'h0.8';
    pen = true;
  });
  return path;
}

/** The same with the ground below. */
function area(values, at, up, ground) {
  let path = '';
  let first = null;
  values.forEach((value, i) => {
    if (value !== null) {
      path += first === null ? `M${at(i).toFixed(1)} ${ground}L` : 'L';
      path += `${at(i).toFixed(1)} ${up(value).toFixed(1)}`;
      first ??= i;
    }
    if (first !== null && (value === null || i === values.length - 1)) {
      const last = value === null ? i - 1 : i;
      path += `L${at(last).toFixed(1)} ${ground}Z`;
      first = null;
    }
  });
  return path;
}

/** A sparkline, 100 by 20, each on a scale of its own. Numbers beside it say the same, so it is hidden from screen readers. */
export function sparkline() {
  const under = s('path', { class: 'area' });
  const line = s('path');
  const element = s('svg', { class: 'spark', viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, under, line);
  let told = '';
  return {
    element,
    update(values) {
      const now = values ? values.join() : '';
      if (now === told) return;
      told = now;
      const top = values ? Math.max(1, ...values.filter((value) => value !== null)) : 1;
      const at = (i) => (i / (values.length - 1)) * 100;
      const up = (value) => 18.5 - (value / top) * 16.5;
      under.setAttribute('d', values ? area(values, at, up, 20) : '');
      line.setAttribute('d', values ? lines(values, at, up) : '');
    },
  };
}

/**
 * A chart of the last hour, or of as much of it as is known. `series` are `{name, kind, of(point)}` with the classes `first`, `second`, `third`; where the points say
 * that nothing is known, the ground is grey. What is under the pointer, or under the cursor that the arrow keys move, is told in numbers.
 */
export function chart(title, unit, series) {
  const ground = s('g');
  const drawn = s('g');
  const cursor = s('path', { class: 'cursor' });
  const picture = s('svg', { class: 'chart', role: 'img', tabindex: '0', 'aria-label': title }, ground, drawn, cursor);
  const keys = h('p', { class: 'keys' });
  const element = h('figure', { class: 'in' }, keys, picture);
  let points = [];
  let shown = null;
  let end = 0;
  let width = 640;
  let span = HOUR_MS;
  const x = (unixMs) => LEFT + (1 - (end - unixMs) / span) * (width - LEFT);

  function tell() {
    const point = points[shown ?? points.length - 1];
    const when = shown === null || !point ? 'now' : time(point.unixMs);
    keys.replaceChildren(...series.map(({ name, kind, of, write }) => {
      const value = point?.known ? write(of(point)) : 'unknown';
      return h('span', { class: kind }, `${name} `, h('b', null, value));
    }), h('span', { class: 'plain' }, when));
    cursor.setAttribute('d', shown === null || !point ? '' : `M${x(point.unixMs).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}`);
  }

  function move(to) {
    shown = to === null || points.length === 0 ? null : Math.min(Math.max(to, 0), points.length - 1);
    tell();
  }

  picture.addEventListener('pointermove', (event) => {
    const box = picture.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * width;
    let nearest = 0;
    points.forEach((point, i) => {
      if (Math.abs(x(point.unixMs) - wanted) < Math.abs(x(points[nearest].unixMs) - wanted)) nearest = i;
    });
    move(nearest);
  });
  picture.addEventListener('pointerleave', () => move(null));
  picture.addEventListener('blur', () => move(null));
  picture.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -points.length, End: points.length }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    move((shown ?? points.length - 1) + step);
  });

  return {
    element,
    update(told, now) {
      points = told;
      end = now;
      const [most, marks] = SPANS.find(([minutes]) => points.length === 0 || now - points[0].unixMs <= minutes * 60000) ?? SPANS.at(-1);
      span = most * 60000;
      // As wide as it is shown, so that letters keep their form.
      width = Math.max(240, picture.clientWidth || width);
      attribute(picture, 'viewBox', `0 0 ${width} ${HEIGHT}`);
      const of = (one) => points.map((point) => (point.known ? one.of(point) : null));
      const top = nice(Math.max(...series.flatMap((one) => of(one).map((value) => value ?? 0)), 0));
      const floor = HEIGHT - BOTTOM;
      const up = (value) => floor - (value / top) * (floor - TOP);
      const at = (i) => x(points[i].unixMs);
      ground.replaceChildren(...[0, 0.5, 1].flatMap((part) => [
        s('path', { class: part ? 'grid' : 'axis', d: `M${LEFT} ${up(top * part)}H${width}` }),
        s('text', { x: LEFT - 6, y: up(top * part) + 4, 'text-anchor': 'end' }, String(top * part)),
      ]), ...marks.map((minutes) => s('text', {
        x: x(end - minutes * 60000), y: HEIGHT - 4, 'text-anchor': minutes === most ? 'start' : minutes ? 'middle' : 'end',
      }, minutes ? `−${minutes} min` : 'now')));
      const blanks = points.filter((point) => !point.known).map((point) => s('rect', {
        class: 'blank', x: x(point.unixMs), y: TOP, width: Math.max(1, (STEP_MS / span) * (width - LEFT)), height: floor - TOP,
      }));
      drawn.replaceChildren(...blanks, ...series.flatMap((one) => {
        const values = of(one);
        const under = one.kind === 'second' ? [] : [s('path', { class: one.kind === 'first' ? 'under' : 'third', d: area(values, at, up, floor) })];
        return one.kind === 'third' ? under : [...under, s('path', { class: one.kind, d: lines(values, at, up) })];
      }));
      const peak = (one) => `${one.name}: most ${one.write(Math.max(0, ...of(one).map((value) => value ?? 0)))} ${unit}`;
      picture.setAttribute('aria-label', `${title} over the last hour. ${series.map(peak).join('; ')}. Arrow keys read single values.`);
      move(shown);
    },
  };
}
