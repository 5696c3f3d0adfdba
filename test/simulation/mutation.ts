/**
 * A planted bug: how the system under test is made wrong, without anything in its source that knows of it. Either what a host
 * is given is wrapped, or a line of the source is replaced while it is loaded (see `plant.ts`).
 */
import type { FileSystem, RaftLog, StateStore } from '../../src/raft/ports.ts';
import type { FaultKind } from './profile.ts';

export interface SourceEdit {
  /** Path in the repository. */
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly find: string;
  readonly replace: string;
}

/** Runs something a little later in simulated time, in the same life of the process. */
export type Later = (work: () => void) => void;

export interface Mutation {
  readonly name: string;
  /** What is wrong, in one sentence. */
  readonly bug: string;
  /** Must be found within so many seeds. */
  readonly seedsMax: number;
  /** On in every seed: without these faults it could not be found, or seldom. */
  readonly needs: readonly FaultKind[];
  /** It may show itself by standing still, which other things may cause too. */
  readonly mayStall?: boolean;
  readonly edits?: readonly SourceEdit[];
  wrapFileSystem?(files: FileSystem, later: Later): FileSystem;
  wrapLog?(log: RaftLog, later: Later): RaftLog;
  wrapStore?(store: StateStore): StateStore;
}
