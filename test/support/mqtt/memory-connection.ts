/**
 * A connection of the port `core/ports/connection.ts` without a socket: the test says which bytes arrive in which
 * chunks and sees what leaves. The rules of the port are checked on the way. `stalled` is a client that does not read.
 */
import type { CloseReason, Connection, ConnectionHandler, ListenerInfo } from '../../../src/core/ports/connection.ts';

const listener: ListenerInfo = { name: 'test', index: 0, protocol: 'mqtt' };
let nextId = 1;

export class MemoryConnection implements Connection {
  readonly id = nextId++;
  readonly listener = listener;
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 40_000;
  outputBytes = 0;
  outputBuffer: Buffer = Buffer.alloc(1_024);
  closed = false;
  closeReason: CloseReason | null = null;
  private readonly outputBytesMax: number;
  private handler: ConnectionHandler | null = null;
  private outputEnd = 0;
  private taken = 0;
  private input: Buffer = Buffer.alloc(0);
  private paused = false;
  private mustPresent = false;
  private wasFull = false;
  private isStalled = false;

  constructor(outputBytesMax: number) {
    this.outputBytesMax = outputBytesMax;
  }

  start(handler: ConnectionHandler): void {
    this.handler = handler;
  }

  write(source: Uint8Array, start: number, end: number): void {
    if (this.closed || end <= start) return;
    const offset = this.reserve(end - start);
    (source as Buffer).copy(this.outputBuffer, offset, start, end);
  }

  reserve(length: number): number {
    if (this.closed) throw new Error('reserve() on a closed connection');
    const offset = this.outputEnd;
    if (offset + length > this.outputBuffer.length) {
      const grown = Buffer.alloc((offset + length) * 2);
      this.outputBuffer.copy(grown, 0, 0, offset);
      this.outputBuffer = grown;
    }
    this.outputEnd += length;
    this.outputBytes += length;
    if (this.outputBytes > this.outputBytesMax) this.wasFull = true;
    return offset;
  }

  pauseReading(): void {
    this.paused = true;
  }

  resumeReading(): void {
    if (!this.paused) return;
    this.paused = false;
    this.mustPresent = true;
  }

  close(reason: CloseReason): void {
    if (this.closed) return;
    this.closed = true;
    this.closeReason = reason;
    this.handler?.onClose(reason);
  }

  destroy(reason: CloseReason): void {
    this.close(reason);
  }

  // ---- the test's side

  /** Bytes arrive. Like the end of a turn, `settle` has to follow for what was resumed. */
  receive(bytes: Uint8Array): void {
    if (this.closed) return;
    this.input = Buffer.concat([this.input, bytes]);
    if (!this.paused) this.present();
  }

  /** What a turn's end does; true when something happened. */
  settle(): boolean {
    if (!this.isStalled) this.outputBytes = 0;
    if (this.wasFull && this.outputBytes <= this.outputBytesMax / 2 && !this.closed) {
      this.wasFull = false;
      this.handler?.onDrain();
      return true;
    }
    if (!this.mustPresent || this.closed || this.paused) return false;
    this.mustPresent = false;
    if (this.input.length > 0) this.present();
    return true;
  }

  private present(): void {
    // Other bytes around it, as in a read area, and a frame only as long as the call.
    const area = Buffer.alloc(this.input.length + 32, 0x30);
    this.input.copy(area, 16);
    const end = 16 + this.input.length;
    const next = (this.handler as ConnectionHandler).onData(area, 16, end);
    if (next < 16 || next > end) throw new Error(`onData() consumed up to ${next} of [16, ${end})`);
    this.input = Buffer.from(area.subarray(next, end));
    area.fill(0xee);
  }

  /** The peer is gone. */
  cut(): void {
    this.close('network-error');
  }

  /** From now on the client reads nothing, or it reads again. */
  set stalled(value: boolean) {
    this.isStalled = value;
  }

  get unconsumedBytes(): number {
    return this.input.length;
  }

  /** What left since the last call. */
  take(): Buffer {
    const bytes = Buffer.from(this.outputBuffer.subarray(this.taken, this.outputEnd));
    this.taken = this.outputEnd;
    return bytes;
  }
}
