/**
 * What can happen to a delayed message and to a bucket: total tables of state by event. Pure. Any thread; used by the delayed messages
 * and their model test; docs/internals/delayed.md prints them.
 */

import { assert } from '../../std/assert.ts';

/**
 * - `stored`: in a bucket that is not in memory
 * - `waiting`: in memory, not due
 * - `cancelling`: the cancellation is being stored; it is held back meanwhile
 * - `queued`: due; its batch is on its way to the target, or to the dead letters
 * - `written`, `cancelled`, `dropped`: done
 */
export const messageStates = ['stored', 'waiting', 'cancelling', 'queued', 'written', 'cancelled', 'dropped'] as const;
export type MessageState = (typeof messageStates)[number];

/**
 * - `load`: its bucket is read, and it is found there
 * - `cancel`: somebody asks for its cancellation; `cancelStored`, `cancelFailed`: what became of that
 * - `due`: its time has come
 * - `write`: its target has it, durably
 * - `divert`: its target refuses it for good, and it goes to the dead letters
 * - `drop`: it can be written nowhere
 */
export type MessageEvent = 'load' | 'cancel' | 'cancelStored' | 'cancelFailed' | 'due' | 'write' | 'divert' | 'drop';

/** `never`: a defect of this program. */
export type Next<State extends string> = State | 'never';

export const messageTransitions: Record<MessageState, Record<MessageEvent, Next<MessageState>>> = {
  stored: {
    load: 'waiting',
    cancel: 'stored',
    cancelStored: 'stored',
    cancelFailed: 'stored',
    due: 'never',
    write: 'never',
    divert: 'never',
    drop: 'never',
  },
  waiting: {
    load: 'waiting',
    cancel: 'cancelling',
    cancelStored: 'cancelled',
    cancelFailed: 'waiting',
    due: 'queued',
    write: 'never',
    divert: 'never',
    drop: 'never',
  },
  cancelling: {
    load: 'cancelling',
    cancel: 'cancelling',
    cancelStored: 'cancelled',
    cancelFailed: 'waiting',
    due: 'cancelling',
    write: 'never',
    divert: 'never',
    drop: 'never',
  },
  queued: {
    load: 'queued',
    cancel: 'queued',
    cancelStored: 'queued',
    cancelFailed: 'queued',
    due: 'queued',
    write: 'written',
    divert: 'queued',
    drop: 'dropped',
  },
  written: {
    load: 'written',
    cancel: 'written',
    cancelStored: 'written',
    cancelFailed: 'written',
    due: 'written',
    write: 'never',
    divert: 'never',
    drop: 'never',
  },
  cancelled: {
    load: 'cancelled',
    cancel: 'cancelled',
    cancelStored: 'cancelled',
    cancelFailed: 'cancelled',
    due: 'cancelled',
    write: 'never',
    divert: 'never',
    drop: 'never',
  },
  dropped: {
    load: 'dropped',
    cancel: 'dropped',
    cancelStored: 'dropped',
    cancelFailed: 'dropped',
    due: 'dropped',
    write: 'never',
    divert: 'never',
    drop: 'never',
  },
};

/**
 * - `stored`: on disk only, or about to be made
 * - `loading`: being read into memory
 * - `loaded`: all of it is in memory
 * - `moving`: being rewritten into the buckets of the level below
 * - `removing`: nothing in it waits any more; the stream is being removed
 * - `removed`: done
 */
export const bucketStates = ['stored', 'loading', 'loaded', 'moving', 'removing', 'removed'] as const;
export type BucketState = (typeof bucketStates)[number];

/**
 * - `near`: a minute is about to begin, or a coarser bucket has to be moved
 * - `read`: all of it was read
 * - `failed`: the store did not do it; it is tried again
 * - `finished`: all of its messages are done, and no append is under way
 * - `late`: something was found in it that no answer had told
 * - `gone`: the stream was removed
 */
export type BucketEvent = 'nearMinute' | 'nearCoarse' | 'read' | 'failed' | 'finished' | 'late' | 'gone';

export const bucketTransitions: Record<BucketState, Record<BucketEvent, Next<BucketState>>> = {
  stored: {
    nearMinute: 'loading',
    nearCoarse: 'moving',
    read: 'never',
    failed: 'never',
    finished: 'never',
    late: 'stored',
    gone: 'never',
  },
  loading: {
    nearMinute: 'loading',
    nearCoarse: 'never',
    read: 'loaded',
    failed: 'loading',
    finished: 'never',
    late: 'loading',
    gone: 'never',
  },
  loaded: {
    nearMinute: 'loaded',
    nearCoarse: 'never',
    read: 'never',
    failed: 'loaded',
    finished: 'removing',
    late: 'loaded',
    gone: 'never',
  },
  moving: {
    nearMinute: 'never',
    nearCoarse: 'moving',
    read: 'never',
    failed: 'moving',
    finished: 'removing',
    late: 'moving',
    gone: 'never',
  },
  removing: {
    nearMinute: 'removing',
    nearCoarse: 'removing',
    read: 'never',
    failed: 'removing',
    finished: 'never',
    late: 'loaded',
    gone: 'removed',
  },
  removed: {
    nearMinute: 'never',
    nearCoarse: 'never',
    read: 'never',
    failed: 'never',
    finished: 'never',
    late: 'never',
    gone: 'never',
  },
};

const messageCodes = new Map<string, number>(messageStates.map((state, code) => [state, code]));

/** The state as it stands in a typed array. */
export function messageCode(state: MessageState): number {
  const code = messageCodes.get(state);
  assert(code !== undefined, 'each state has a code');
  return code;
}

export function nextMessageState(state: MessageState, event: MessageEvent): MessageState {
  const next = messageTransitions[state][event];
  assert(next !== 'never', `a delayed message that is ${state} cannot ${event}`);
  return next;
}

export function nextBucketState(state: BucketState, event: BucketEvent): BucketState {
  const next = bucketTransitions[state][event];
  assert(next !== 'never', `a bucket that is ${state} cannot be ${event}`);
  return next;
}
