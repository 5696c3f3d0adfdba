/**
 * The port of offset cursors: where groups of readers go on in streams. One thread of the node has them; each other thread has an
 * implementation of this port. Calls reject as those of `queues.ts`.
 */
import type { OffsetCursor } from '../queues/cursor-records.ts';
import type { GroupState } from '../queues/group-state.ts';
import type { OffsetCommit } from '../queues/offset-cursors.ts';

export type { OffsetCommit, OffsetCursor };

export interface CursorGroup {
  readonly group: string;
  readonly state: GroupState;
  /** 0: it never had members. */
  readonly generation: number;
  /** By name of the partition. */
  readonly cursors: ReadonlyMap<string, OffsetCursor>;
}

export interface FetchedCursor {
  readonly stream: string;
  /** Null when there is none. */
  readonly cursor: OffsetCursor | null;
  /** A transaction that is under way will change it, perhaps. */
  readonly isStaged: boolean;
}

export interface Cursors {
  /** A generation of members begins: commits of all others are refused from now on. */
  claim(group: string, generation: number): Promise<void>;
  /** The generation has no members any more. */
  release(group: string, generation: number): Promise<void>;
  /** Resolves when it is durable. `generation` null: by somebody who is no member. */
  commit(group: string, generation: number | null, commits: readonly OffsetCommit[]): Promise<void>;
  fetch(group: string, streams: readonly string[]): Promise<readonly FetchedCursor[]>;
  /** Sorted. */
  groups(): Promise<readonly string[]>;
  describe(group: string): Promise<CursorGroup>;
  /** Answers which of them were there. */
  deleteCursors(group: string, streams: readonly string[]): Promise<readonly string[]>;
  deleteGroup(group: string): Promise<void>;
}
