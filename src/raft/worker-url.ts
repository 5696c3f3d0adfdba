/**
 * Where the entry of the Raft worker lies. Called on the main thread by whoever starts it. A clone runs the `.ts` file, a
 * published package the `.js` file that was emitted from it: the extension of this very module says which.
 */
const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

export const raftWorkerUrl = new URL(`./raft.worker${extension}`, import.meta.url);
