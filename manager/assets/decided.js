// What was decided, and why: a table of decisions.

import { h, panel, rows, table } from './dom.js';
import { seconds, time } from './format.js';

/** What one decision says, in two texts: what, and why. */
export function words(one) {
  switch (one.kind) {
    case 'move': return [`${one.topic}: ${one.from ?? 'nobody'} → ${one.to ?? 'nobody'}${one.forced ? ', at once' : ''}`, one.because];
    case 'arrived': return [`${one.topic}: ${one.collector} answers now`, `after ${seconds(one.seconds)}`];
    case 'collector': return [`${one.collector}: ${one.from ?? 'new'} → ${one.to ?? 'gone'}`, one.because];
    case 'scale': return [`collectors${one.provider ? ` of ${one.provider}` : ''}: ${one.from} → ${one.to}`, one.because];
    case 'topic': return [`${one.topic} ${one.created ? 'created' : 'deleted'}`, one.because];
    default: return [one.kind, ''];
  }
}

/** A panel of them; `update(list)` takes them with the newest first. */
export function decided(title, tools) {
  const { body, element } = table(title, [['When'], ['Generation', 'num'], ['What'], ['Why']]);
  const none = h('p', { class: 'in note' }, 'Nothing since this manager started.');
  return {
    element: panel(title, tools, element, none),
    update(list) {
      none.hidden = list.length > 0;
      element.hidden = list.length === 0;
      rows(body, list, (one) => one.sequence, (one) => {
        const [what, why] = words(one);
        return [{ text: time(one.unixMs), kind: 'when' }, { text: String(one.generation), kind: 'num' }, { text: what, kind: 'grows' }, { text: why, kind: 'grows' }];
      });
    },
  };
}
