/** Starts a thread of the broker. Main thread; called by `WorkerThread` and `WorkerLife`. */
import { type ResourceLimits, Worker } from 'node:worker_threads';

export interface ThreadEntryData {
  /** URL of the module that the thread is made of. */
  readonly entry: string;
}

const own = import.meta.url;
/** A `.ts` file in a clone, a `.js` file in a published package, as this one. */
const threadEntryUrl = new URL(`./thread-entry.worker${own.slice(own.lastIndexOf('.'))}`, own);

/** Throws when the process is out of threads, descriptors or memory. */
export function startThread(entry: URL, name: string, resourceLimits: ResourceLimits): Worker {
  const workerData: ThreadEntryData = { entry: entry.href };
  return new Worker(threadEntryUrl, { name, resourceLimits, workerData });
}
