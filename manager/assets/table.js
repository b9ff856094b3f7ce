// A table of any length of which only the rows on the screen exist: a real table to a screen reader, which is told the true count.

import { attribute, h } from './dom.js';

// Rows above and below the screen, so that a quick flick meets no blank.
const SPARE = 12;

/**
 * `columns`: `{id, title, kind, width, sort}`, `sort` telling which way is first (`1` up, `-1` down). `make()` gives a row as
 * `{element, update(item)}`, for one item after another. `onsort(id)` is called by the heads. The list is shown by `show(items, sorted)`.
 */
export function virtualTable({ label, columns, make, onsort, onview }) {
  const heads = new Map(columns.map((column) => {
    const arrow = h('span', { class: 'arrow', 'aria-hidden': 'true' });
    const button = h('button', { type: 'button', title: column.hint, onclick: () => onsort(column.id) }, column.title, arrow);
    const element = h('th', { scope: 'col', class: `${column.kind ?? ''} c-${column.id} ${column.width}` }, column.sort ? button : column.title);
    return [column.id, { element, arrow }];
  }));
  const above = h('tr', { class: 'gap', 'aria-hidden': 'true' }, h('td'));
  const below = h('tr', { class: 'gap', 'aria-hidden': 'true' }, h('td'));
  const body = h('tbody', null, above, below);
  const table = h('table', { 'aria-label': label }, h('thead', null, h('tr', { 'aria-rowindex': '1' }, [...heads.values()].map((head) => head.element))), body);
  const element = h('div', { class: 'list', role: 'region', 'aria-label': `${label}, scrolls`, tabindex: '0' }, table);

  let items = [];
  let shown = new Map();
  let planned = false;

  function rowHeight() {
    return parseFloat(getComputedStyle(element).getPropertyValue('--row')) || 30;
  }

  function paint() {
    planned = false;
    const height = rowHeight();
    const onScreen = Math.ceil(element.clientHeight / height);
    // A list that has just become shorter is scrolled beyond its end, until the browser notices.
    const top = Math.max(0, Math.min(Math.floor(element.scrollTop / height), items.length - onScreen));
    const first = Math.max(0, top - SPARE);
    const last = Math.min(items.length, top + onScreen + 1 + SPARE);
    const wanted = items.slice(first, last);
    const ids = new Set(wanted.map((item) => item.id));
    // Rows that have left the screen are written anew, in their order: while one scrolls far, no element is made or moved. But for
    // the one with the focus, which would go to another item unasked.
    const left = [...shown].filter(([id]) => !ids.has(id)).map(([, row]) => row);
    const spare = left.filter((row) => !row.element.contains(document.activeElement)).reverse();
    const kept = new Map();
    let before = above;
    wanted.forEach((item, i) => {
      const row = shown.get(item.id) ?? spare.pop() ?? make();
      kept.set(item.id, row);
      row.update(item);
      attribute(row.element, 'aria-rowindex', first + i + 2);
      if (before.nextSibling !== row.element) before.after(row.element);
      before = row.element;
    });
    const used = new Set(kept.values());
    for (const row of left) {
      if (!used.has(row)) row.element.remove();
    }
    shown = kept;
    above.firstChild.style.height = `${first * height}px`;
    below.firstChild.style.height = `${Math.max(0, items.length - last) * height}px`;
    onview?.(wanted);
  }

  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(paint);
  }

  element.addEventListener('scroll', plan, { passive: true });
  const sized = new ResizeObserver(plan);
  sized.observe(element);
  // Up and down go from row to row; what is not on the screen is brought there.
  body.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest('tr');
    if (!step || !row) return;
    event.preventDefault();
    const at = Number(row.getAttribute('aria-rowindex')) - 2 + step;
    if (at < 0 || at >= items.length) return;
    const height = rowHeight();
    const top = at * height;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + 2 * height > element.scrollTop + element.clientHeight - 32) element.scrollTop = top + 2 * height + 32 - element.clientHeight;
    paint();
    shown.get(items[at].id)?.element.querySelector('a')?.focus();
  });

  return {
    element,
    /** Shows these, sorted as said. */
    show(told, { by, way }) {
      items = told;
      attribute(table, 'aria-rowcount', items.length + 1);
      for (const [id, { element: head, arrow }] of heads) {
        attribute(head, 'aria-sort', id === by ? (way > 0 ? 'ascending' : 'descending') : null);
        arrow.textContent = id === by ? (way > 0 ? '▲' : '▼') : '';
      }
      plan();
    },
    /** Whether somebody is about to use a row: then the order has to stay. */
    inUse: () => body.matches(':hover') || body.contains(document.activeElement),
    refresh: plan,
    end: () => sized.disconnect(),
  };
}
