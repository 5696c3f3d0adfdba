/**
 * Where every long-lived thread of a broker begins: loads the thread's own entry in the quick way. On the new thread; started by
 * `start-thread.ts`. Messages that come meanwhile wait in the thread's port, which is the entry's business.
 */
import { workerData } from 'node:worker_threads';
import { resolveQuickly } from '../../std/quick-resolution.ts';
import type { ThreadEntryData } from './start-thread.ts';

const { entry } = workerData as ThreadEntryData;
const end = resolveQuickly();
await import(entry);
end();
