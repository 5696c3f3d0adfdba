/**
 * Where the thread entries lie. Called on the main thread by whoever starts a worker.
 *
 * A clone runs the `.ts` files as they are, a published package runs the `.js` files that were emitted from them: the
 * extension of this very module says which.
 */
const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

/** Entry of a connection worker. */
export const connectionWorkerUrl = new URL(`./connection.worker${extension}`, import.meta.url);

/** Entry of the journal worker. */
export const journalWorkerUrl = new URL(`./journal.worker${extension}`, import.meta.url);

/** Entry of the threads of the task pool. */
export const tasksWorkerUrl = new URL(`./tasks.worker${extension}`, import.meta.url);
