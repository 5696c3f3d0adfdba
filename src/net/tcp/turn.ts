/**
 * The end of an event-loop turn of one worker: connections that have output are flushed once, those that may read again
 * are resumed. Thread: one worker.
 */
import type { OutputMemory } from './output-memory.ts';

/** What the turn calls back; implemented by the connections. */
export interface TurnMember {
  flush(): void;
  presentAgain(): void;
}

export class Turn {
  readonly memory: OutputMemory;
  private dirty: TurnMember[] = [];
  private spare: TurnMember[] = [];
  private resumed: TurnMember[] = [];
  private scheduled = false;
  private readonly run = (): void => this.end();

  constructor(memory: OutputMemory) {
    this.memory = memory;
  }

  addDirty(member: TurnMember): void {
    this.dirty.push(member);
    this.schedule();
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
    if (this.resumed.length > 0) {
      const resumed = this.resumed;
      this.resumed = [];
      for (const member of resumed) member.presentAgain();
    }
    const dirty = this.dirty;
    this.dirty = this.spare;
    // By index: a flush can make others dirty only through the event loop, never within this loop.
    for (let index = 0; index < dirty.length; index++) (dirty[index] as TurnMember).flush();
    dirty.length = 0;
    this.spare = dirty;
    if (this.dirty.length === 0) this.memory.endTurn();
  }
}
