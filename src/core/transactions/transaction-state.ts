/**
 * The life of a named producer's transactions: a total table of state by event. Pure. Any thread; used by the coordinator and its
 * tests; docs/internals/transactions.md prints it.
 */

import type { TransactionErrorCode } from './transaction-error.ts';

/**
 * - `empty`: the producer has begun, and no transaction of it was ever begun or it began anew
 * - `ongoing`: it has partitions or groups
 * - `prepareCommit`, `prepareAbort`: it is decided; markers are being written
 * - `completeCommit`, `completeAbort`: all markers are there
 * - `prepareEpochFence`: it is given up, the producer is refused, and the abort is being stored; in memory alone
 * - `dead`: it was not used for long and is being forgotten
 */
export const transactionStates = [
  'empty',
  'ongoing',
  'prepareCommit',
  'prepareAbort',
  'completeCommit',
  'completeAbort',
  'prepareEpochFence',
  'dead',
] as const;
export type TransactionState = (typeof transactionStates)[number];

/**
 * - `initialize`: a producer of this name begins anew
 * - `add`: partitions or a group come into the transaction
 * - `commit`, `abort`: the producer ends it
 * - `commitAgain`, `abortAgain`: the producer asks once more for the end that was answered already, perhaps
 * - `timeOut`: it took too long
 * - `fence`: the abort of a transaction that was given up is durable
 * - `complete`: all markers are there, and the cursors are set
 * - `expire`: the name was not used for long
 */
export const transactionEvents = [
  'initialize',
  'add',
  'commit',
  'abort',
  'commitAgain',
  'abortAgain',
  'timeOut',
  'fence',
  'complete',
  'expire',
] as const;
export type TransactionEvent = (typeof transactionEvents)[number];

/** The next state (the same one: nothing is to be done), or why it is refused; `never`: a defect of this program. */
export type TransactionOutcome = TransactionState | { readonly refused: TransactionErrorCode } | 'never';

const concurrent = { refused: 'TRANSACTION_CONCURRENT' } as const;
const fenced = { refused: 'TRANSACTION_FENCED' } as const;
const wrong = { refused: 'TRANSACTION_STATE' } as const;
const unknown = { refused: 'TRANSACTION_UNKNOWN' } as const;

export const transactionTransitions: Record<TransactionState, Record<TransactionEvent, TransactionOutcome>> = {
  empty: {
    initialize: 'empty',
    add: 'ongoing',
    // Nothing was written: there is nothing to mark.
    commit: 'completeCommit',
    abort: 'completeAbort',
    commitAgain: wrong,
    abortAgain: wrong,
    timeOut: 'empty',
    fence: 'never',
    complete: 'never',
    expire: 'dead',
  },
  ongoing: {
    initialize: 'prepareEpochFence',
    add: 'ongoing',
    commit: 'prepareCommit',
    abort: 'prepareAbort',
    commitAgain: fenced,
    abortAgain: fenced,
    timeOut: 'prepareEpochFence',
    fence: 'never',
    complete: 'never',
    expire: 'ongoing',
  },
  prepareCommit: {
    initialize: concurrent,
    add: concurrent,
    commit: concurrent,
    abort: concurrent,
    commitAgain: 'prepareCommit',
    abortAgain: wrong,
    timeOut: 'prepareCommit',
    fence: 'never',
    complete: 'completeCommit',
    expire: 'prepareCommit',
  },
  prepareAbort: {
    initialize: concurrent,
    add: concurrent,
    commit: concurrent,
    abort: concurrent,
    commitAgain: wrong,
    abortAgain: 'prepareAbort',
    timeOut: 'prepareAbort',
    fence: 'never',
    complete: 'completeAbort',
    expire: 'prepareAbort',
  },
  completeCommit: {
    initialize: 'empty',
    add: 'ongoing',
    commit: 'completeCommit',
    abort: 'completeAbort',
    commitAgain: 'completeCommit',
    abortAgain: wrong,
    timeOut: 'completeCommit',
    fence: 'never',
    complete: 'never',
    expire: 'dead',
  },
  completeAbort: {
    initialize: 'empty',
    add: 'ongoing',
    commit: 'completeCommit',
    abort: 'completeAbort',
    commitAgain: wrong,
    abortAgain: 'completeAbort',
    timeOut: 'completeAbort',
    fence: 'never',
    complete: 'never',
    expire: 'dead',
  },
  prepareEpochFence: {
    initialize: concurrent,
    add: fenced,
    commit: fenced,
    abort: fenced,
    commitAgain: fenced,
    abortAgain: fenced,
    timeOut: 'prepareEpochFence',
    fence: 'prepareAbort',
    complete: 'never',
    expire: 'prepareEpochFence',
  },
  dead: {
    initialize: concurrent,
    add: unknown,
    commit: unknown,
    abort: unknown,
    commitAgain: unknown,
    abortAgain: unknown,
    timeOut: 'dead',
    fence: 'never',
    complete: 'never',
    expire: 'dead',
  },
};
