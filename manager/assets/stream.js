// The manager's stream of all that moves. It is read by `fetch`, which can say who asks, as EventSource can not.

import { identify, identity, problem } from './api.js';

// The manager says something each second. One that is silent for longer is gone or frozen, or the way to it is.
const SILENT_MS = 6000;
const RETRY_MS = [300, 600, 1200, 2500, 5000];

/** Reads events until the stream ends. */
async function read(response, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      let name = '';
      let data = '';
      for (const line of part.split('\n')) {
        if (line.startsWith('event:')) name = line.slice(6).trim();
        else if (line.startsWith('data:')) data += line.slice(5);
      }
      heard(name, data ? JSON.parse(data) : null);
    }
  }
}

/**
 * Listens for ever. `on.event(name, data)` gets what comes, `on.state(state, detail)` how it goes: `connecting`, `live`, `lost`.
 * After a loss all is told anew, so nothing has to be made up for.
 */
export async function listen(on) {
  let failures = 0;
  for (;;) {
    const abort = new AbortController();
    let last = performance.now();
    const watch = setInterval(() => { if (performance.now() - last > SILENT_MS) abort.abort(); }, 500);
    let why = 'The connection ended.';
    try {
      const response = await fetch('/api/v1/live', { headers: identity(), signal: abort.signal, cache: 'no-store' });
      if (!response.ok) throw await problem(response);
      await read(response, (name, data) => {
        last = performance.now();
        if (!name) return;
        failures = 0;
        on.event(name, data);
        on.state('live');
      });
    } catch (error) {
      if (error.status === 401) {
        on.state('lost', error.message);
        if (await identify(error.message)) failures = 0;
        else failures = RETRY_MS.length - 1;
      }
      why = error.status ? error.message : abort.signal.aborted ? 'It has said nothing for some seconds.' : 'It does not answer.';
    } finally {
      clearInterval(watch);
    }
    on.state('lost', why);
    await new Promise((resolve) => { setTimeout(resolve, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]); });
    failures += 1;
  }
}
