/**
 * The life of a half message: a total table of state by event. Pure. Any thread; used by the half messages and their tests;
 * docs/internals/transactions.md prints it.
 */

import type { TransactionErrorCode } from './transaction-error.ts';

/**
 * - `prepared`: durable, seen by nobody, undecided
 * - `committing`: on its way to the target
 * - `rollingBack`: its end is being stored
 * - `givingUp`: nobody has decided; on its way to the dead letters
 * - `committed`, `rolledBack`, `dead`: done
 */
export const halfStates = [
  'prepared',
  'committing',
  'rollingBack',
  'givingUp',
  'committed',
  'rolledBack',
  'dead',
] as const;
export type HalfState = (typeof halfStates)[number];

/**
 * - `check`: it is time to ask its group
 * - `commit`, `rollback`: the group decides
 * - `giveUp`: it was asked about often enough, and goes to the dead letters
 * - `written`: the target has it; `lost`: it was refused for good, and there are no dead letters
 * - `stored`, `failed`: what became of the roll-back
 */
export const halfEvents = ['check', 'commit', 'rollback', 'giveUp', 'written', 'lost', 'stored', 'failed'] as const;
export type HalfEvent = (typeof halfEvents)[number];

export type HalfOutcome = HalfState | { readonly refused: TransactionErrorCode } | 'never';

const wrong = { refused: 'TRANSACTION_STATE' } as const;

export const halfTransitions: Record<HalfState, Record<HalfEvent, HalfOutcome>> = {
  prepared: {
    check: 'prepared',
    commit: 'committing',
    rollback: 'rollingBack',
    giveUp: 'givingUp',
    written: 'never',
    lost: 'never',
    // A roll-back whose fate was unknown is found in the log.
    stored: 'rolledBack',
    failed: 'never',
  },
  committing: {
    check: 'committing',
    commit: 'committing',
    rollback: wrong,
    giveUp: 'committing',
    written: 'committed',
    lost: 'dead',
    // The commit came after it and is what counts.
    stored: 'committing',
    failed: 'never',
  },
  rollingBack: {
    check: 'rollingBack',
    commit: wrong,
    rollback: 'rollingBack',
    giveUp: 'rollingBack',
    written: 'never',
    lost: 'never',
    stored: 'rolledBack',
    failed: 'prepared',
  },
  givingUp: {
    check: 'givingUp',
    commit: wrong,
    rollback: wrong,
    giveUp: 'givingUp',
    written: 'dead',
    lost: 'dead',
    stored: 'givingUp',
    failed: 'never',
  },
  committed: {
    check: 'committed',
    commit: 'committed',
    rollback: wrong,
    giveUp: 'committed',
    written: 'never',
    lost: 'never',
    stored: 'committed',
    failed: 'never',
  },
  rolledBack: {
    check: 'rolledBack',
    commit: wrong,
    rollback: 'rolledBack',
    giveUp: 'rolledBack',
    written: 'never',
    lost: 'never',
    stored: 'rolledBack',
    failed: 'never',
  },
  dead: {
    check: 'dead',
    commit: wrong,
    rollback: wrong,
    giveUp: 'dead',
    written: 'never',
    lost: 'never',
    stored: 'dead',
    failed: 'never',
  },
};
