/**
 * Who may move the cursors of a group: the states of a group, the events and the total table of both. Pure; called by the offset
 * cursors, and printed in docs/internals/queues.md.
 */
import type { QueueErrorCode } from './queue-error.ts';

/** `unknown`: nothing is stored of it. `free`: it has cursors and no members. `claimed`: a generation of members owns it. */
export const groupStates = ['unknown', 'free', 'claimed'] as const;
export type GroupState = (typeof groupStates)[number];

/**
 * | event | when |
 * |---|---|
 * | claim | its coordinator begins a generation that is newer than all before |
 * | claimOld | the same with one that is not |
 * | commit | by a member of the present generation |
 * | commitOld | by a member of another one |
 * | commitFree | by somebody without a generation |
 * | release | the present generation has no members any more |
 * | releaseOld | the same of another generation |
 * | deleteCursors | some cursors are deleted or expire |
 * | deleteLast | the last cursor is deleted or has expired |
 * | deleteGroup | the whole group is deleted |
 */
export const groupEvents = [
  'claim',
  'claimOld',
  'commit',
  'commitOld',
  'commitFree',
  'release',
  'releaseOld',
  'deleteCursors',
  'deleteLast',
  'deleteGroup',
] as const;
export type GroupEvent = (typeof groupEvents)[number];

export type GroupOutcome = GroupState | { readonly refused: QueueErrorCode };

const stale = { refused: 'QUEUE_GENERATION_STALE' } as const;
const unknown = { refused: 'QUEUE_GROUP_UNKNOWN' } as const;
const inUse = { refused: 'QUEUE_GROUP_IN_USE' } as const;

export const groupTransitions: Readonly<Record<GroupState, Readonly<Record<GroupEvent, GroupOutcome>>>> = {
  unknown: {
    claim: 'claimed',
    claimOld: stale,
    commit: stale,
    commitOld: stale,
    commitFree: 'free',
    release: stale,
    releaseOld: stale,
    deleteCursors: unknown,
    deleteLast: unknown,
    deleteGroup: unknown,
  },
  free: {
    claim: 'claimed',
    claimOld: stale,
    commit: stale,
    commitOld: stale,
    commitFree: 'free',
    release: 'free',
    releaseOld: stale,
    deleteCursors: 'free',
    deleteLast: 'unknown',
    deleteGroup: 'unknown',
  },
  claimed: {
    claim: 'claimed',
    claimOld: stale,
    commit: 'claimed',
    commitOld: stale,
    commitFree: stale,
    release: 'free',
    releaseOld: stale,
    deleteCursors: 'claimed',
    deleteLast: 'claimed',
    deleteGroup: inUse,
  },
};
