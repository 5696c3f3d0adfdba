/**
 * Where the entry of the lagging consumer lies. Called by `lag-run.ts`. A clone runs the `.ts` file, a published package the `.js` file
 * that was emitted from it: the extension of this very module says which.
 */
const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));

export const laggingConsumerUrl = new URL(`./lagging-consumer.worker${extension}`, import.meta.url);
