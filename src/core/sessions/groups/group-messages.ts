/**
 * What owners of groups and the owners of sessions that are members tell each other, and the port that carries it. All of it can be
 * sent to another thread; bodies are never in it, since each slot reads the logs anyway. Any thread.
 *
 * Whoever begins says so: a slot `ready`, the owner of a shard `hello` to all slots, and again to one that is ready. A slot answers
 * a `hello` with `sync`, everything that it knows about groups of the shard, and only what comes behind counts for the owner.
 */
import type { GroupStrategy } from '../../broker/group-strategies.ts';
import type { SessionErrorCode } from '../session-error.ts';

/** A member as its slot knows it. */
export interface MemberState {
  readonly group: string;
  readonly id: string;
  /** Grows with each connecting: what is of an older one is void. */
  readonly epoch: number;
  readonly isOnline: boolean;
  /** What it holds with grade 2 is stored with it, and waits for it. */
  readonly isDurable: boolean;
  /** Messages that it may have and has not settled. */
  readonly credit: number;
  readonly grade: 0 | 1 | 2;
  /** The same for the same client, so that hashes find it again. */
  readonly seed: number;
  /** All that it has: log, offset and grade in turn. Null: as the owner knows. */
  readonly held: readonly number[] | null;
}

/** Sessions of the slot that are subscribed, connected or not: the group lives while there are some. */
export interface ResidentCount {
  readonly group: string;
  readonly strategy: GroupStrategy;
  readonly count: number;
}

/** Errors lose their class between threads. */
export interface GroupFailure {
  readonly code: SessionErrorCode;
  readonly message: string;
}

export type GroupMessage =
  // From a slot to all.
  | { readonly kind: 'ready' }
  // From an owner of groups to slots.
  | { readonly kind: 'hello'; readonly shard: number; readonly generation: number; readonly groups: readonly string[] }
  | { readonly kind: 'group'; readonly group: string; readonly exists: boolean }
  | { readonly kind: 'answer'; readonly request: number; readonly error: GroupFailure | null }
  /** `refs`: log, offset and flags in turn. */
  | {
      readonly kind: 'give';
      readonly group: string;
      readonly id: string;
      readonly epoch: number;
      readonly refs: number[];
    }
  // From slots to an owner of groups.
  | {
      readonly kind: 'sync';
      readonly shard: number;
      readonly generation: number;
      readonly residents: readonly ResidentCount[];
      readonly members: readonly MemberState[];
    }
  /** Asks for the group to be there; answered when it is durable. */
  | { readonly kind: 'join'; readonly request: number; readonly resident: ResidentCount }
  | { readonly kind: 'residents'; readonly resident: ResidentCount }
  | { readonly kind: 'member'; readonly state: MemberState }
  /** `refs`: log and offset in turn. Answered when it is durable, unless the request is 0. */
  | {
      readonly kind: 'settle';
      readonly group: string;
      readonly id: string;
      readonly request: number;
      readonly refs: number[];
    }
  /** Was never sent. */
  | { readonly kind: 'return'; readonly group: string; readonly id: string; readonly refs: number[] };

/** In the flags of `give`: the grade in the lowest two bits. */
export const giveFlag = { grade: 3, isDuplicate: 4 } as const;

/**
 * Carries messages between slots, in the order in which one slot sends them to another. A message to a slot that is not there is
 * lost: its successor says that it is ready. Implemented by whoever places slots on threads.
 */
export interface GroupTransport {
  /** All other slots that are there now. */
  others(): readonly number[];
  /** Which slot owns the groups of a shard; the same answer on all slots. It is there whenever any is, or comes. */
  ownerOf(shard: number): number;
  /** Never to the own slot. */
  send(slot: number, messages: readonly GroupMessage[]): void;
  /** The one handler on this slot. */
  onMessages(handler: (from: number, messages: readonly GroupMessage[]) => void): void;
  /** Another slot died: whatever it had in memory is void. Comes behind the last of its messages. */
  onSlotGone(handler: (slot: number) => void): void;
}

/** One slot that has nobody to talk to. */
export function aloneTransport(slot: number): GroupTransport {
  return {
    others: () => [],
    ownerOf: () => slot,
    send: () => undefined,
    onMessages: () => undefined,
    onSlotGone: () => undefined,
  };
}
