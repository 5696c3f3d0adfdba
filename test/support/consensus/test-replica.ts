/**
 * One replica for tests of the consensus core: the core, a log in memory, a state machine that only counts, and the duties of a
 * driver in steps that a test can hold back: take a round, make it durable, apply.
 */
import { Consensus, type ConsensusOptions } from '../../../src/raft/consensus/consensus.ts';
import { decodeMembershipChange } from '../../../src/raft/consensus/membership-codec.ts';
import {
  type Entry,
  entryKinds,
  type Membership,
  type Message,
  type ReadState,
  type Ready,
  type ReplicaId,
  type SnapshotPosition,
} from '../../../src/raft/consensus/types.ts';
import { MemoryLog } from './memory-log.ts';

export type TestOptions = Partial<Omit<ConsensusOptions, 'replica' | 'log' | 'applied' | 'membership'>>;

export const defaultOptions = {
  electionTicks: 10,
  heartbeatTicks: 1,
  // Every election time-out is one and a half times its base.
  random: (below: number) => below >> 1,
  messageBytesMax: 1024 * 1024,
  inflightMessagesMax: 256,
  inflightBytesMax: 16 * 1024 * 1024,
  uncommittedBytesMax: 16 * 1024 * 1024,
  committedBytesMax: 1024 * 1024,
};

export function membershipOf(voters: readonly ReplicaId[], learners: readonly ReplicaId[] = []): Membership {
  return { voters, outgoing: [], learners, learnersNext: [], autoLeave: false };
}

export function positionOf(index: number, term: number, membership: Membership): SnapshotPosition {
  return { index, term, membership };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function textOf(entry: { readonly data: Uint8Array }): string {
  return decoder.decode(entry.data);
}

export function command(text: string): { kind: 0; data: Uint8Array } {
  return { kind: entryKinds.command, data: encoder.encode(text) };
}

export class TestReplica {
  readonly id: ReplicaId;
  readonly log: MemoryLog;
  readonly #options: TestOptions;
  core: Consensus;
  /** What the state machine has applied, and what of that survives a crash. */
  state: SnapshotPosition;
  durableState: SnapshotPosition;
  /** Entries that the state machine took, in order, in this life. */
  applied: Entry[] = [];
  /** Rounds that are written and not durable. */
  rounds: Ready[] = [];
  /** Committed entries that wait for the state machine. */
  committed: Entry[] = [];
  readStates: ReadState[] = [];
  outbox: Message[] = [];
  /** Grows with every crash. */
  life = 0;

  constructor(id: ReplicaId, start: SnapshotPosition, options: TestOptions = {}, log = new MemoryLog(start)) {
    this.id = id;
    this.log = log;
    this.#options = options;
    this.state = start;
    this.durableState = start;
    this.core = this.#open();
  }

  /** Takes one round: sends, writes, and queues the rest. */
  take(): Ready {
    const ready = this.core.ready();
    this.outbox.push(...ready.messages);
    this.log.write(ready);
    this.rounds.push(ready);
    this.committed.push(...ready.committed);
    this.readStates.push(...ready.readStates);
    return ready;
  }

  /** The oldest round under way becomes durable. */
  persistOne(): Ready {
    const round = this.rounds.shift()!;
    this.log.syncOne();
    this.outbox.push(...round.messagesAfterPersist);
    this.core.persisted(round.number);
    return round;
  }

  /** Applies everything that was handed out. */
  apply(onApply?: (entry: Entry) => void): void {
    if (this.committed.length === 0) return;
    for (const entry of this.committed) {
      // A snapshot that came in between has replaced what these would have led to.
      if (entry.index <= this.state.index) continue;
      if (entry.index !== this.state.index + 1) throw new Error('An entry was left out');
      const membership =
        entry.kind === entryKinds.membership
          ? this.core.applyMembership(decodeMembershipChange(entry.data))
          : this.state.membership;
      this.state = positionOf(entry.index, entry.term, membership);
      this.applied.push(entry);
      onApply?.(entry);
    }
    this.committed = [];
    this.core.applied(this.state.index);
  }

  /** All duties of a driver until there is nothing left to do. */
  settle(): void {
    while (this.core.hasReady() || this.rounds.length > 0 || this.committed.length > 0) {
      if (this.core.hasReady()) this.take();
      this.apply();
      while (this.rounds.length > 0) this.persistOne();
    }
  }

  /** What the transport does with a snapshot: the state is installed, then the message stepped. */
  receive(message: Message): void {
    if (message.type === 'snapshot' && message.to === this.id && message.position.index > this.state.index) {
      this.state = message.position;
      this.durableState = message.position;
    }
    this.core.step(message);
  }

  /** Makes the state durable and forgets the log that led to it. */
  compact(): void {
    this.durableState = this.state;
    this.log.compact(this.state);
  }

  crashAndRestart(): void {
    this.life++;
    this.log.crash();
    this.outbox = [];
    this.rounds = [];
    this.committed = [];
    this.readStates = [];
    this.applied = [];
    this.state = this.durableState;
    const { index, term } = this.state;
    const isInLog =
      index >= this.log.firstIndex() - 1 && index <= this.log.lastIndex() && this.log.term(index) === term;
    if (!isInLog) this.log.reset(this.state);
    this.core = this.#open();
  }

  #open(): Consensus {
    return new Consensus({
      ...defaultOptions,
      ...this.#options,
      replica: this.id,
      log: this.log,
      applied: this.state.index,
      membership: this.state.membership,
    });
  }
}
