/** Messages of one session that wait for room in its window or for its client; first in, first out. Pure. */
import type { StoredMessage } from './stored-message.ts';

export class MessageQueue {
  bytes = 0;
  private items: StoredMessage[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  push(message: StoredMessage): void {
    this.items.push(message);
    this.bytes += message.end - message.start;
  }

  shift(): StoredMessage | undefined {
    const message = this.items[this.head];
    if (message === undefined) return undefined;
    (this.items as (StoredMessage | undefined)[])[this.head] = undefined;
    this.head++;
    this.bytes -= message.end - message.start;
    // Moved in blocks, so that a shift costs O(1) on average.
    if (this.head === this.items.length || (this.head > 1024 && this.head * 2 > this.items.length)) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return message;
  }

  /** Takes out those that `isTaken` says so of; the order of the others stays. */
  takeWhere(isTaken: (message: StoredMessage) => boolean): void {
    const left = this.toArray().filter((message) => !isTaken(message));
    this.items = left;
    this.head = 0;
    this.bytes = left.reduce((sum, message) => sum + message.end - message.start, 0);
  }

  toArray(): StoredMessage[] {
    return this.items.slice(this.head);
  }
}
