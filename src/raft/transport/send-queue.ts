/**
 * What waits to be sent to one peer, bounded in bytes. Thread: the Raft worker; used by `PeerLink`.
 *
 * When it is full, all waiting appends go at once: the follower would refuse whatever came after a gap, and the leader
 * finds the right place again by probing. Raft tolerates the loss of any message.
 */
import { type BatchMessage, messageSize } from './message-codec.ts';

export interface TakenMessages {
  readonly messages: readonly BatchMessage[];
  /** In a batch. */
  readonly bytes: number;
}

export class SendQueue {
  private readonly bytesMax: number;
  private messages: BatchMessage[] = [];
  private sizes: number[] = [];
  private bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get isEmpty(): boolean {
    return this.messages.length === 0;
  }

  get sizeBytes(): number {
    return this.bytes;
  }

  /** Answers how many messages were dropped for it. A message that is larger than the queue still fits into an empty one. */
  push(message: BatchMessage): number {
    const size = messageSize(message);
    const dropped = this.bytes + size > this.bytesMax && this.messages.length > 0 ? this.makeRoom(size) : 0;
    this.messages.push(message);
    this.sizes.push(size);
    this.bytes += size;
    return dropped;
  }

  /** The first messages, as many as fit in `bytesMax` and at least one. The queue is not empty. */
  take(bytesMax: number): TakenMessages {
    if (this.bytes <= bytesMax) return this.takeAll();
    let count = 1;
    let bytes = this.sizes[0];
    while (count < this.sizes.length && bytes + this.sizes[count] <= bytesMax) bytes += this.sizes[count++];
    this.sizes.splice(0, count);
    this.bytes -= bytes;
    return { messages: this.messages.splice(0, count), bytes };
  }

  /** Answers how many messages there were. */
  clear(): number {
    return this.takeAll().messages.length;
  }

  private takeAll(): TakenMessages {
    const taken = { messages: this.messages, bytes: this.bytes };
    this.messages = [];
    this.sizes = [];
    this.bytes = 0;
    return taken;
  }

  private makeRoom(size: number): number {
    const { messages } = this.takeAll();
    for (const message of messages) {
      if (message.type === 'append') continue;
      this.messages.push(message);
      const kept = messageSize(message);
      this.sizes.push(kept);
      this.bytes += kept;
    }
    if (this.bytes + size > this.bytesMax) this.clear();
    return messages.length - this.messages.length;
  }
}
