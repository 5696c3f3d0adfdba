/** A port on which the messages of one turn leave as one list. Used by both ends of the services, each on its own thread. */
import type { MessagePort } from 'node:worker_threads';

export class BatchedPort<Outgoing, Incoming> {
  readonly #port: MessagePort;
  #outgoing: Outgoing[] = [];
  #moved: ArrayBuffer[] = [];
  #isClosed = false;

  /** `closed` is called when the other end is gone, and not for `close`. */
  constructor(port: MessagePort, receive: (message: Incoming) => void, closed: () => void) {
    this.#port = port;
    port.on('message', (messages: readonly Incoming[]) => {
      for (const message of messages) if (!this.#isClosed) receive(message);
    });
    port.on('close', () => {
      if (this.#isClosed) return;
      this.#isClosed = true;
      closed();
    });
    // It keeps neither thread alive.
    port.unref();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Leaves at the end of the turn; `moved` does not belong to the caller any more. */
  post(message: Outgoing, moved?: ArrayBuffer): void {
    if (this.#isClosed) return;
    if (this.#outgoing.length === 0) queueMicrotask(() => this.flush());
    this.#outgoing.push(message);
    if (moved !== undefined) this.#moved.push(moved);
  }

  /** Sends now what was posted. */
  flush(): void {
    const messages = this.#outgoing;
    if (messages.length === 0) return;
    const moved = this.#moved;
    this.#outgoing = [];
    this.#moved = [];
    if (!this.#isClosed) this.#port.postMessage(messages, moved);
  }

  close(): void {
    this.flush();
    this.#isClosed = true;
    this.#port.close();
  }
}
