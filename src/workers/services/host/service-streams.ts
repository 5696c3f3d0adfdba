/** Internal streams that say that a service has something to do, so that nothing is loaded to find out that it has not. Any thread. */

/** Names of the buckets of delayed messages begin like this, and a dot. */
export const delayedPrefix = '__delayed';
export const transactionsStream = '__transactions';
export const halfLogStream = '__half.log';
/** Of the offset cursors; as in the queue service, which is not loaded for its name. */
export const cursorsStream = '_ringmq.offsets';

/** Whether a service goes on by itself in a store with these streams. */
export function hasServiceWork(names: readonly string[]): boolean {
  return names.some((name) => {
    return name === transactionsStream || name === halfLogStream || name.startsWith(`${delayedPrefix}.`);
  });
}
