/**
 * One TCP connection of the fuzz harness: writes bytes in every chunking, keeps account of what came back. It checks
 * nothing of the protocol. Thread of the harness.
 */
import net from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Random } from './random.ts';

export const chunkings = ['whole', 'single bytes', 'random splits', 'glued'] as const;
export type Chunking = (typeof chunkings)[number];

/** Of what came back, as much is kept to look at. */
const keptBytesMax = 65_536;

/** Waits for the promise, but not longer than that. */
export function within(promise: Promise<unknown>, limitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, limitMs);
    void promise.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

export class RawClient {
  readonly socket: net.Socket;
  received = Buffer.alloc(0);
  receivedBytes = 0;
  isClosed = false;
  private readonly closedPromise: Promise<void>;
  private wake: (() => void) | null = null;

  private constructor(socket: net.Socket, reads: boolean) {
    this.socket = socket;
    // How the broker ends a connection is judged by the cases; that it may reset it is not.
    socket.on('error', () => undefined);
    this.closedPromise = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true;
        this.wake?.();
        resolve();
      });
    });
    if (!reads) return;
    socket.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      if (this.received.length < keptBytesMax) this.received = Buffer.concat([this.received, chunk]);
      this.wake?.();
    });
    socket.on('end', () => socket.end());
  }

  /** Resolves when it is connected or has failed to. With `reads` false nothing is ever read. */
  static async connect(port: number, reads = true): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    const client = new RawClient(socket, reads);
    await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), client.closedPromise]);
    return client;
  }

  /** Writes packets; `glued` joins them, the other ways take them one by one. Stops when the broker has ended. */
  async write(random: Random, packets: readonly Buffer[], chunking: Chunking): Promise<void> {
    if (chunking === 'glued') {
      this.socket.write(Buffer.concat(packets));
      return;
    }
    for (const packet of packets) {
      if (this.isClosed) return;
      if (chunking === 'whole') this.socket.write(packet);
      else await this.writeParts(random, packet, chunking);
    }
  }

  private async writeParts(random: Random, packet: Buffer, chunking: Chunking): Promise<void> {
    for (let position = 0; position < packet.length; ) {
      if (this.isClosed) return;
      // The rest of a long packet in larger pieces, or single bytes would take the whole run.
      const size = position > 400 ? 4_096 : chunking === 'single bytes' ? 1 : random.between(1, 40);
      this.socket.write(packet.subarray(position, position + size));
      position += size;
      await nextTurn();
    }
  }

  /** Resolves when `bytes` have come in all, the connection has ended, or the time is over. */
  async waitForBytes(bytes: number, limitMs: number): Promise<void> {
    const limit = performance.now() + limitMs;
    while (this.receivedBytes < bytes && !this.isClosed) {
      const leftMs = limit - performance.now();
      if (leftMs <= 0) return;
      await within(
        new Promise<void>((resolve) => {
          this.wake = resolve;
        }),
        leftMs,
      );
    }
  }

  /** Resolves with whether the connection ended within the time. */
  async waitForClose(limitMs: number): Promise<boolean> {
    if (!this.isClosed) await within(this.closedPromise, limitMs);
    return this.isClosed;
  }

  /** Ends the connection: politely, or with a reset. */
  end(how: 'end' | 'reset'): void {
    if (how === 'end') this.socket.end();
    // Node cannot reset a socket that is being shut down, and would leave it open.
    else if (this.socket.writableEnded) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }
}
