/**
 * What a replica is given and how it answers. Thread: the Raft worker, or the simulator's only thread; read by whoever
 * drives a `Replica`.
 */
import type { PlacementError } from '../../core/ports/placement.ts';
import type { ConsensusOptions } from '../consensus/consensus.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { PlacementState } from '../placement/placement-state.ts';
import type { RaftLog, Transport } from '../ports.ts';

export interface ReplicaPorts {
  readonly log: RaftLog;
  readonly state: PlacementState;
  readonly transport: Transport;
  /** A clock in ms that never goes back. */
  now(): number;
  /** A whole number from 0 to `below` - 1. */
  random(below: number): number;
  /** Bytes that can still be written where log and state live. */
  freeBytes(): number;
  /** Bytes that the state takes on disk. */
  stateBytes(): number;
  /**
   * There is work: `Replica.process` is to be called soon, and not from inside of this call. Asked for once until
   * `process` runs.
   */
  wake(): void;
  /** `Replica.tellCommit` is to be called in one or two milliseconds. Asked for once until it runs. */
  wakeLater(): void;
  /** This replica has stopped voting and serving for the rest of its life. Called once, last of all. */
  onFault(fault: Error): void;
  /** Role, leader, membership or addresses are others than before. */
  onChange(): void;
}

export interface ReplicaOptions {
  readonly replica: ReplicaId;
  /** Base of the randomised election time-out: it is between once and twice that many ticks. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Calls that wait for an answer, writes and reads each; beyond it they are refused with `OVERLOADED`. */
  readonly pendingMax: number;
  /** Entries that are kept behind the applied index for followers that are slow. */
  readonly keptEntries: number;
  /** Beyond that much log, fewer entries are kept; beyond four times as much, none. */
  readonly logBytesMax: number;
  /** With less free space, writes that make the state grow are refused with `DISK_FULL`. */
  readonly diskReserveBytes: number;
  /** A learner may be promoted once it is at most that many entries behind. */
  readonly promotionLagMax: number;
  /** Bounds of the core that are to be others than the usual ones. */
  readonly limits?: Partial<CoreLimits>;
}

export type CoreLimits = Pick<
  ConsensusOptions,
  'messageBytesMax' | 'inflightMessagesMax' | 'inflightBytesMax' | 'uncommittedBytesMax' | 'committedBytesMax'
>;

const mebibyte = 1024 * 1024;
/** Messages and rounds are small enough that none of them holds the thread for long. */
export const coreLimits: CoreLimits = {
  messageBytesMax: mebibyte,
  inflightMessagesMax: 256,
  inflightBytesMax: 16 * mebibyte,
  uncommittedBytesMax: 64 * mebibyte,
  committedBytesMax: mebibyte / 2,
};

export const defaultReplicaOptions: Omit<ReplicaOptions, 'replica'> = {
  electionTicks: 14,
  heartbeatTicks: 2,
  pendingMax: 10_000,
  keptEntries: 10_000,
  logBytesMax: 64 * mebibyte,
  diskReserveBytes: 64 * mebibyte,
  promotionLagMax: 1_000,
};

/** Called once; inside of the call that it answers only when that is refused, or answered without the group. */
export type Reply<T> = (outcome: T | PlacementError) => void;

export interface NewMember {
  readonly replica: ReplicaId;
  readonly name: string;
  /** `host:port` of node-to-node traffic. */
  readonly address: string;
  /** The leader does not promote it by itself when it joins. */
  readonly staysLearner?: boolean;
}
