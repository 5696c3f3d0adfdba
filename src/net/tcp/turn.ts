/**
 * The end of an event-loop turn of one worker: connections that have output are flushed once, those that may read again
 * are resumed. Thread: one worker.
 *
 * When turns bring a single read each, as with sparse traffic, there is nothing to gather: output then leaves at the end
 * of the read, which saves the immediate and its latency. Every so often a few turns are gathered again to see whether
 * that still holds.
 */
import type { OutputMemory } from './output-memory.ts';

/** What the turn calls back; implemented by the connections. */
export interface TurnMember {
  flush(): void;
  presentAgain(): void;
}

/** Gathered turns with one read each, after which reads are flushed by themselves; and for how many reads. */
const quietTurnsMin = 4;
const directReads = 64;

export class Turn {
  readonly memory: OutputMemory;
  private dirty: TurnMember[] = [];
  private spare: TurnMember[] = [];
  private resumed: TurnMember[] = [];
  private scheduled = false;
  private isReading = false;
  /** Reads since the last gathered turn ended. */
  private reads = 0;
  private quietTurns = 0;
  private directLeft = 0;
  private readonly run = (): void => this.end();

  constructor(memory: OutputMemory) {
    this.memory = memory;
  }

  addDirty(member: TurnMember): void {
    this.dirty.push(member);
    if (!this.isReading || this.directLeft === 0) this.schedule();
  }

  /** A connection is about to present what it has read. */
  readBegins(): void {
    this.isReading = true;
  }

  readEnded(): void {
    this.isReading = false;
    this.reads++;
    if (this.directLeft === 0) return;
    this.directLeft--;
    if (this.dirty.length > 0) this.flush();
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
    this.quietTurns = this.reads <= 1 ? this.quietTurns + 1 : 0;
    this.reads = 0;
    if (this.quietTurns >= quietTurnsMin) {
      this.quietTurns = 0;
      this.directLeft = directReads;
    }
    if (this.resumed.length > 0) {
      const resumed = this.resumed;
      this.resumed = [];
      for (const member of resumed) member.presentAgain();
    }
    this.flush();
  }

  private flush(): void {
    const dirty = this.dirty;
    this.dirty = this.spare;
    // By index: a flush can make others dirty only through the event loop, never within this loop.
    for (let index = 0; index < dirty.length; index++) (dirty[index] as TurnMember).flush();
    dirty.length = 0;
    this.spare = dirty;
    if (this.dirty.length === 0) this.memory.endTurn();
  }
}
