// All that a person does with the dashboard, on a manager, collectors and interceptors under load.

import { play } from './harness.mjs';
import { assignment } from './assignment.mjs';
import { collectors } from './collectors.mjs';
import { connection } from './connection.mjs';
import { workloads } from './workloads.mjs';

await play([...workloads, ...collectors, ...assignment, ...connection]);
