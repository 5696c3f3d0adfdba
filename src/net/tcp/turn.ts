/**
 * The end of an event-loop turn of one worker: connections that have output are flushed once, those that may read again
 * are resumed. Thread: one worker.
 *
 * When turns bring a single read each, or reads that are for a connection each, as with sparse traffic, there is nothing to
 * gather: output then leaves at the end of the read, which saves the immediate and its latency. Every so often a few turns
 * are gathered again to see whether that still holds.
 */
import type { OutputMemory } from './output-memory.ts';

/** What the turn calls back; implemented by the connections. */
export interface TurnMember {
  flush(): void;
  presentAgain(): void;
}

/** Gathered turns that saved no write, after which reads are flushed by themselves; and for how many reads. */
const quietTurnsMin = 4;
const directReads = 256;
/** A longer list of connections is let go after its turn. */
const keptPlaces = 4_096;

export class Turn {
  readonly memory: OutputMemory;
  /** Connections with output, in the first `dirtyCount` places. Shortened, V8 would allocate it anew for the next message. */
  private dirty: (TurnMember | null)[] = [];
  private dirtyCount = 0;
  private spare: (TurnMember | null)[] = [];
  private resumed: TurnMember[] = [];
  private scheduled = false;
  private isReading = false;
  /** Gathered reads since the last turn ended. */
  private reads = 0;
  /** Since then: how often gathering may have saved a write although there are as many connections as reads. */
  private gains = 0;
  private quietTurns = 0;
  private directLeft = 0;
  private readonly run = (): void => this.end();

  constructor(memory: OutputMemory) {
    this.memory = memory;
  }

  addDirty(member: TurnMember): void {
    this.dirty[this.dirtyCount++] = member;
    if (!this.isReading || this.directLeft === 0) this.schedule();
  }

  /** A connection has much output, or gets more of it behind that of others: gathering may save a write. */
  noteGain(): void {
    this.gains++;
  }

  /** A connection is about to present what it has read. */
  readBegins(): void {
    this.isReading = true;
  }

  readEnded(): void {
    this.isReading = false;
    if (this.directLeft === 0) {
      this.reads++;
      return;
    }
    if (--this.directLeft === 0) this.gains = 0;
    if (this.dirtyCount > 0) this.flush();
  }

  addResumed(member: TurnMember): void {
    this.resumed.push(member);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(this.run);
  }

  private end(): void {
    this.scheduled = false;
    if (this.directLeft === 0) this.judge();
    if (this.resumed.length > 0) {
      const resumed = this.resumed;
      this.resumed = [];
      for (const member of resumed) member.presentAgain();
    }
    this.flush();
  }

  /** Whether it was worth while to gather this turn. */
  private judge(): void {
    const isQuiet = this.reads <= 1 || (this.gains === 0 && this.reads <= this.dirtyCount);
    this.quietTurns = isQuiet ? this.quietTurns + 1 : 0;
    this.reads = 0;
    this.gains = 0;
    if (this.quietTurns < quietTurnsMin) return;
    this.quietTurns = 0;
    this.directLeft = directReads;
  }

  private flush(): void {
    const { dirty, dirtyCount } = this;
    this.dirty = this.spare;
    this.dirtyCount = 0;
    // By index: a flush can make others dirty only through the event loop, never within this loop.
    for (let index = 0; index < dirtyCount; index++) {
      const member = dirty[index] as TurnMember;
      dirty[index] = null;
      member.flush();
    }
    if (dirty.length > keptPlaces) dirty.length = 0;
    this.spare = dirty;
    if (this.dirtyCount === 0) this.memory.endTurn();
  }
}
