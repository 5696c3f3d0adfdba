/**
 * Sends what is posted within one turn of the event loop through a port as one message: handing over a message costs many
 * times what its content does. Thread: both ends of a client's port; used by `placement-client.ts` and `client-server.ts`.
 *
 * The bytes in the messages are copied into one piece of memory, which moves to the other thread. Posted as they are, each
 * view would take its whole memory along: a key of 8 bytes the pool of 8 KiB that it lies in.
 */
import type { MessagePort } from 'node:worker_threads';

/** With more bytes than that a message leaves at once; also about what one small value that is kept can hold fast. */
const BATCH_BYTES_MAX = 128 * 1024;
const BATCH_MESSAGES_MAX = 1_000;

export class PortBatch<T> {
  private readonly port: MessagePort;
  private messages: T[] = [];
  private bytes = 0;
  private isFlushDue = false;

  constructor(port: MessagePort) {
    this.port = port;
  }

  /** Throws a `TypeError`, and posts nothing, for what is not plain data. What is posted must not change any more. */
  post(message: T): void {
    this.bytes += bytesOf(message);
    this.messages.push(message);
    if (this.bytes >= BATCH_BYTES_MAX || this.messages.length >= BATCH_MESSAGES_MAX) {
      this.flush();
      return;
    }
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    // Runs when all promises that are settled now had their say, before the event loop turns.
    process.nextTick(() => {
      this.isFlushDue = false;
      this.flush();
    });
  }

  /** Sends what waits, for example before the port is closed. */
  flush(): void {
    const { messages, bytes } = this;
    if (messages.length === 0) return;
    this.messages = [];
    this.bytes = 0;
    if (bytes === 0) {
      this.port.postMessage(messages);
      return;
    }
    const memory = new Uint8Array(bytes);
    this.port.postMessage(new Packer(memory).packed(messages), [memory.buffer]);
  }
}

/** All bytes in `value`. */
function bytesOf(value: unknown): number {
  if (value instanceof Uint8Array) return value.length;
  if (typeof value === 'function' || typeof value === 'symbol') {
    throw new TypeError(`Cannot hand over a ${typeof value} to another thread`);
  }
  if (typeof value !== 'object' || value === null) return 0;
  let bytes = 0;
  if (Array.isArray(value)) for (const item of value) bytes += bytesOf(item);
  else for (const key of Object.keys(value)) bytes += bytesOf((value as Record<string, unknown>)[key]);
  return bytes;
}

/** Copies messages, and their bytes into one memory. */
class Packer {
  private readonly memory: Uint8Array<ArrayBuffer>;
  private end = 0;

  constructor(memory: Uint8Array<ArrayBuffer>) {
    this.memory = memory;
  }

  packed(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof Uint8Array) return this.placed(value);
    if (Array.isArray(value)) return value.map((item) => this.packed(item));
    const copy: Record<string, unknown> = {};
    for (const key of Object.keys(value)) copy[key] = this.packed((value as Record<string, unknown>)[key]);
    return copy;
  }

  private placed(bytes: Uint8Array): Uint8Array {
    const start = this.end;
    this.end += bytes.length;
    this.memory.set(bytes, start);
    return this.memory.subarray(start, this.end);
  }
}
