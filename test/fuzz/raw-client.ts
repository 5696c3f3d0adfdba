/**
 * One connection of the fuzz harness, over TCP or as a WebSocket on it: writes bytes in every chunking, keeps account of what came back.
 * It checks nothing of MQTT, and of WebSocket only what a server may send. Thread of the harness.
 */
import net from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Random } from './random.ts';
import { frame, framed, Opcode, ServerFrames, upgradeRequest } from './ws-frames.ts';

export const chunkings = ['whole', 'single bytes', 'random splits', 'glued'] as const;
export type Chunking = (typeof chunkings)[number];

/** Of what came back, as much is kept to look at. */
const keptBytesMax = 65_536;
const upgradeLimitMs = 5_000;

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
  /** Set when this is a WebSocket whose upgrade was answered. */
  isUpgraded = false;
  /** Cuts what is sent into frames; null over TCP. */
  private readonly framing: Random | null;
  private readonly serverFrames = new ServerFrames();
  private isCloseSeen = false;
  private readonly closedPromise: Promise<void>;
  private wake: (() => void) | null = null;

  private constructor(socket: net.Socket, reads: boolean, framing: Random | null) {
    this.socket = socket;
    this.framing = framing;
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
    if (framing === null) socket.on('data', (chunk: Buffer) => this.keep(chunk));
    socket.on('end', () => socket.end());
  }

  /**
   * Resolves when it is connected or has failed to. With `reads` false nothing is ever read, but the answer to the upgrade. With
   * `framing` it is a WebSocket, and what is sent is cut into frames by it.
   */
  static async connect(port: number, reads = true, framing: Random | null = null): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    const client = new RawClient(socket, reads, framing);
    await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), client.closedPromise]);
    if (framing !== null) await client.upgrade(framing, reads);
    return client;
  }

  /** What is wrong with the frames that came, or null. */
  get problem(): string | null {
    return this.serverFrames.problem;
  }

  /** Writes bytes of MQTT; over WebSocket in frames. */
  send(bytes: Uint8Array): void {
    this.socket.write(this.framing === null ? bytes : framed(this.framing, bytes));
  }

  private async upgrade(framing: Random, reads: boolean): Promise<void> {
    const answered = new Promise<void>((resolve) => {
      let head = Buffer.alloc(0);
      const onHead = (chunk: Buffer): void => {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        this.socket.off('data', onHead);
        this.isUpgraded = head.toString('latin1', 0, 12) === 'HTTP/1.1 101';
        if (reads) {
          this.socket.on('data', (frames: Buffer) => this.receiveFrames(frames, framing));
          this.receiveFrames(head.subarray(end + 4), framing);
        } else this.socket.pause();
        resolve();
      };
      this.socket.on('data', onHead);
    });
    this.socket.write(upgradeRequest(framing));
    await within(Promise.race([answered, this.closedPromise]), upgradeLimitMs);
  }

  private receiveFrames(chunk: Buffer, framing: Random): void {
    for (const { opcode, payload } of this.serverFrames.take(chunk)) {
      if (opcode === Opcode.close) this.isCloseSeen = true;
      if (opcode === Opcode.close && !this.socket.writableEnded) {
        this.socket.end(frame(framing, payload, { opcode: Opcode.close }));
      } else if (opcode === Opcode.ping && !this.socket.writableEnded) {
        this.socket.write(frame(framing, payload, { opcode: Opcode.pong }));
      } else if (opcode <= Opcode.binary) this.keep(payload);
    }
  }

  private keep(bytes: Buffer): void {
    this.receivedBytes += bytes.length;
    if (this.received.length < keptBytesMax) this.received = Buffer.concat([this.received, bytes]);
    this.wake?.();
  }

  /** Writes packets; `glued` joins them, the other ways take them one by one. Stops when the broker has ended. */
  async write(random: Random, packets: readonly Buffer[], chunking: Chunking): Promise<void> {
    if (chunking === 'glued') {
      this.send(Buffer.concat(packets));
      return;
    }
    for (const packet of packets) {
      if (this.isClosed) return;
      if (chunking === 'whole') this.send(packet);
      else await this.writeParts(random, packet, chunking);
    }
  }

  private async writeParts(random: Random, packet: Buffer, chunking: Chunking): Promise<void> {
    for (let position = 0; position < packet.length; ) {
      if (this.isClosed) return;
      // The rest of a long packet in larger pieces, or single bytes would take the whole run.
      const size = position > 400 ? 4_096 : chunking === 'single bytes' ? 1 : random.between(1, 40);
      this.send(packet.subarray(position, position + size));
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

  /** For messages about a connection that should have ended: what it knows of it. */
  describe(): string {
    const { socket, receivedBytes, received } = this;
    const begin = received.subarray(0, 24).toString('hex');
    const ends = [
      ...(socket.readableEnded ? ['the broker has ended its side'] : []),
      ...(socket.writableEnded ? ['it has ended its own'] : []),
      ...(this.isCloseSeen ? ['a close frame came'] : []),
    ];
    return `port ${socket.localPort}, ${receivedBytes} bytes received, ${begin}${ends.map((end) => `, ${end}`).join('')}`;
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
