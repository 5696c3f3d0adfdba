/**
 * Input and output buffering of one connection, whatever its transport. Subclasses move bytes to and from the kernel.
 *
 * Cost of a message on the hot path: no allocation. Incoming bytes are presented where the kernel put them; the tail of
 * an unfinished frame is copied in front of the next read. Outgoing bytes are copied once, to the shared slab or to a
 * pooled chunk, and leave in one system call per turn or per 64 KiB. Thread: the connection's worker.
 */
import type {
  CloseReason,
  Connection,
  ConnectionHandler,
  ListenerInfo,
  PeerCertificate,
} from '../../core/ports/connection.ts';
import { assert } from '../../std/assert.ts';
import { slabSpanBytesMax } from './output-memory.ts';
import type { ReadArea } from './read-area.ts';
import type { Turn, TurnMember } from './turn.ts';

/** What a connection needs of its worker. */
export interface ConnectionHost {
  readonly turn: Turn;
  readonly readArea: ReadArea;
  /** Beyond this many bytes of output the protocol holds back, until `onDrain`. */
  readonly outputBytesMax: number;
  /** Bytes of output at or below which `onDrain` is called, once they were more than `outputBytesMax`. */
  readonly outputLowWaterBytes: number;
  /** May `throttle` the connection. */
  countReceived(connection: BufferedConnection, bytes: number): void;
  countSent(listener: ListenerInfo, bytes: number): void;
  /** The stream has ended for the handler; the transport may still be flushing. */
  ended(connection: Connection, reason: CloseReason): void;
}

/** What is known of a connection before it begins. */
export interface ConnectionFacts {
  /** In place of the socket's: what a trusted proxy says. */
  readonly remote?: { readonly address: string; readonly port: number } | null;
  /** A proxy's header was read. */
  readonly isProxied?: boolean;
  readonly tls?: PeerCertificate | undefined;
  readonly serverName?: string | undefined;
  readonly isSurplus?: boolean;
  /** Bytes that were read off the socket behind the header of a proxy. */
  readonly early?: Buffer | null;
}

export const noFacts: ConnectionFacts = {};

/** Where the open span of output lies. */
const noSpan = 0;
const slabSpan = 1;
const chunkSpan = 2;

interface QueuedChunk {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

const emptyBuffer = Buffer.alloc(0);
/** How long after `close` the peer may take to read what is queued, ms. A reader that stopped would hold it for ever. */
const flushLimitMs = 10_000;
/** How long the peer may take to answer an orderly end before the socket is closed, ms. */
const lingerMs = 2_000;

export abstract class BufferedConnection implements Connection, TurnMember {
  readonly id: number;
  readonly listener: ListenerInfo;
  remoteAddress = '';
  remotePort = 0;
  readonly tls: PeerCertificate | undefined;
  readonly serverName: string | undefined;
  readonly isProxied: boolean;
  readonly isSurplus: boolean;
  outputBytes = 0;
  outputBuffer: Buffer = emptyBuffer;
  closed = false;
  protected readonly host: ConnectionHost;
  protected handler: ConnectionHandler | null = null;
  private endReason: CloseReason | null = null;
  private spanKind = noSpan;
  private spanStart = 0;
  private spanEnd = 0;
  private isDirty = false;
  /** Full chunks behind the one that the kernel has not taken; null for nearly every connection. */
  private queue: QueuedChunk[] | null = null;
  /** What the transport has not finished with, and how much of it goes out; nothing of it may be touched. */
  private writing: Buffer | null = null;
  private writingBytes = 0;
  private tail: Buffer | null = null;
  private tailLength = 0;
  protected paused = false;
  /** The transport's own pause, beside the protocol's. */
  private throttled = false;
  /** Bytes that were read before the connection began. */
  private early: Buffer | null = null;
  private ending = false;
  private isBroken = false;
  /** The output was above its limit and the handler was not told yet that it fell. */
  private wasFull = false;
  private endTimer: NodeJS.Timeout | null = null;

  constructor(id: number, listener: ListenerInfo, host: ConnectionHost, facts: ConnectionFacts = noFacts) {
    this.id = id;
    this.listener = listener;
    this.host = host;
    this.tls = facts.tls;
    this.serverName = facts.serverName;
    this.isProxied = facts.isProxied === true;
    this.isSurplus = facts.isSurplus === true;
    this.early = facts.early ?? null;
  }

  /** Starts to read; called once, when the handler exists. */
  start(handler: ConnectionHandler): void {
    this.handler = handler;
    if (this.endReason !== null) handler.onClose(this.endReason);
    else if (this.early !== null) this.presentEarly(this.early);
    else if (!this.paused) this.startReading();
  }

  private presentEarly(bytes: Buffer): void {
    this.early = null;
    // As if it were an unfinished frame: so it may wait for a handler that paused already.
    this.tail = bytes;
    this.tailLength = bytes.length;
    this.host.countReceived(this, bytes.length);
    if (!this.paused) this.host.turn.addResumed(this);
  }

  // ---- output

  write(source: Uint8Array, start: number, end: number): void {
    if (this.closed || end <= start) return;
    let from = start;
    if (this.spanKind === chunkSpan) {
      // Fills the open chunk first, so that a stream leaves in writes of whole chunks.
      const room = this.outputBuffer.length - this.spanEnd;
      if (room > 0 && room < end - start) {
        const offset = this.reserve(room);
        (source as Buffer).copy(this.outputBuffer, offset, start, start + room);
        from += room;
      }
    }
    const offset = this.reserve(end - from);
    // Buffer.copy and not TypedArray.set: the source may be shared memory, where `set` takes a slow path.
    (source as Buffer).copy(this.outputBuffer, offset, from, end);
  }

  reserve(length: number): number {
    const offset = this.spanEnd;
    const end = offset + length;
    if (this.spanKind === chunkSpan) {
      if (end <= this.outputBuffer.length) {
        this.spanEnd = end;
        this.outputBytes += length;
        return offset;
      }
    } else if (this.spanKind === slabSpan) {
      const { memory } = this.host.turn;
      // The span grows in place as long as nobody else took slab memory behind it.
      if (memory.slabCursor === offset && memory.slab === this.outputBuffer && end <= this.outputBuffer.length) {
        memory.slabCursor = end;
        this.spanEnd = end;
        this.outputBytes += length;
        return offset;
      }
    }
    return this.reserveSlow(length);
  }

  private reserveSlow(length: number): number {
    assert(!this.closed, 'output is reserved on an open connection');
    this.outputBytes += length;
    if (!this.isDirty) {
      this.isDirty = true;
      this.host.turn.addDirty(this);
    }
    if (this.spanKind === noSpan) return this.openSpan(length);
    if (this.spanKind === slabSpan) {
      this.host.turn.noteGain();
      this.moveSlabSpanToChunk(length);
      return this.extendChunk(length);
    }
    this.writeFullChunk();
    return this.openSpan(length);
  }

  private openSpan(length: number): number {
    const { memory } = this.host.turn;
    if (length <= slabSpanBytesMax && this.writing === null) {
      memory.makeSlabRoom(length);
      this.spanKind = slabSpan;
      this.outputBuffer = memory.slab;
      this.spanStart = memory.slabCursor;
      memory.slabCursor += length;
      this.spanEnd = memory.slabCursor;
      return this.spanStart;
    }
    this.host.turn.noteGain();
    this.spanKind = chunkSpan;
    this.outputBuffer = memory.takeChunk(length);
    this.spanStart = 0;
    this.spanEnd = length;
    return 0;
  }

  private extendChunk(length: number): number {
    const offset = this.spanEnd;
    this.spanEnd = offset + length;
    return offset;
  }

  private moveSlabSpanToChunk(extraBytes: number): void {
    const length = this.spanEnd - this.spanStart;
    const chunk = this.host.turn.memory.takeChunk(length + extraBytes);
    this.outputBuffer.copy(chunk, 0, this.spanStart, this.spanEnd);
    this.spanKind = chunkSpan;
    this.outputBuffer = chunk;
    this.spanStart = 0;
    this.spanEnd = length;
  }

  /** The open chunk has no room: write it now, or queue it behind the one that the kernel has not taken. */
  private writeFullChunk(): void {
    const buffer = this.outputBuffer;
    const start = this.spanStart;
    const end = this.spanEnd;
    this.closeSpan();
    if (this.writing === null) {
      this.send(buffer, start, end, chunkSpan);
      return;
    }
    this.queue ??= [];
    this.queue.push({ buffer, start, end });
  }

  private closeSpan(): void {
    this.spanKind = noSpan;
    this.outputBuffer = emptyBuffer;
    this.spanStart = 0;
    this.spanEnd = 0;
  }

  /** End of the turn: what is open leaves in one system call. */
  flush(): void {
    this.isDirty = false;
    if (this.spanKind === noSpan) return;
    if (this.writing !== null) {
      // The slab is used again after this turn, so what has to wait must move out of it.
      if (this.spanKind === slabSpan) this.moveSlabSpanToChunk(0);
      return;
    }
    const kind = this.spanKind;
    const buffer = this.outputBuffer;
    const start = this.spanStart;
    const end = this.spanEnd;
    this.closeSpan();
    this.send(buffer, start, end, kind);
  }

  private send(buffer: Buffer, start: number, end: number, kind: number): void {
    this.host.countSent(this.listener, end - start);
    const result = this.writeBytes(buffer, start, end);
    if (result === writeCopied) {
      this.writing = emptyBuffer;
      this.writingBytes = end - start;
      if (kind === chunkSpan) this.host.turn.memory.giveChunk(buffer);
      return;
    }
    if (result === writePending) {
      this.writing = buffer;
      this.writingBytes = end - start;
      if (kind === slabSpan) this.host.turn.memory.lendSlab(buffer);
      return;
    }
    this.countTaken(end - start);
    if (kind === chunkSpan) this.host.turn.memory.giveChunk(buffer);
    if (result === writeFailed) this.isBroken = true;
    // Not now: the caller may be in the middle of delivering, and the end of a connection publishes its will.
    if (this.isBroken || this.isDrained()) this.host.turn.addResumed(this);
  }

  private countTaken(bytes: number): void {
    if (this.outputBytes > this.host.outputBytesMax) this.wasFull = true;
    this.outputBytes -= bytes;
  }

  private isDrained(): boolean {
    return this.wasFull && this.outputBytes <= this.host.outputLowWaterBytes;
  }

  private reportDrain(): void {
    if (this.closed || !this.isDrained()) return;
    this.wasFull = false;
    this.handler?.onDrain();
  }

  /** To be called by the subclass when a pending write is over. */
  protected writeCompleted(ok: boolean): void {
    const buffer = this.writing;
    if (buffer === null) return;
    this.writing = null;
    this.countTaken(this.writingBytes);
    this.host.turn.memory.giveChunk(buffer);
    if (!ok) {
      this.destroy('network-error');
      return;
    }
    this.sendNext();
    this.reportDrain();
  }

  private sendNext(): void {
    while (this.writing === null && this.queue !== null) {
      const next = this.queue.shift() as QueuedChunk;
      if (this.queue.length === 0) this.queue = null;
      this.send(next.buffer, next.start, next.end, chunkSpan);
    }
    if (this.writing !== null) return;
    if (this.spanKind !== noSpan) this.flush();
    if (this.ending && this.writing === null) this.finish();
  }

  // ---- input

  /** Presents `length` bytes that lie at the beginning of the worker's read area. */
  protected received(length: number): void {
    this.host.countReceived(this, length);
    if (this.closed) return;
    this.host.turn.readBegins();
    this.presentRead(length);
    this.host.turn.readEnded();
  }

  /** Keeps bytes of a transport that goes on presenting for a moment after `stopReading`, until `resumeReading`. */
  protected receivedWhilePaused(source: Buffer, start: number, end: number): void {
    this.host.countReceived(this, end - start);
    if (this.closed) return;
    if (this.tail === null) {
      this.tail = Buffer.allocUnsafe(2 * (end - start));
      this.tailLength = 0;
    }
    this.appendToTail(source, start, end);
  }

  private presentRead(length: number): void {
    const { buffer, headroom } = this.host.readArea;
    if (this.tail === null) {
      this.present(buffer, headroom, headroom + length);
    } else if (this.tailLength <= headroom) {
      const start = headroom - this.tailLength;
      this.tail.copy(buffer, start, 0, this.tailLength);
      this.tail = null;
      this.present(buffer, start, headroom + length);
    } else {
      this.appendToTail(buffer, headroom, headroom + length);
      this.presentTail();
    }
  }

  private present(buffer: Buffer, start: number, end: number): void {
    const consumed = (this.handler as ConnectionHandler).onData(buffer, start, end);
    if (this.closed || consumed >= end) return;
    const length = end - consumed;
    // A small tail is nearly always finished by the next read; a long one is a large frame that will grow further.
    const tail = Buffer.allocUnsafe(length <= this.host.readArea.headroom ? length : length * 2);
    buffer.copy(tail, 0, consumed, end);
    this.tail = tail;
    this.tailLength = length;
  }

  private appendToTail(source: Buffer, start: number, end: number): void {
    const length = this.tailLength + end - start;
    let tail = this.tail as Buffer;
    if (length > tail.length) {
      // Doubling: memory follows the bytes that came, never the length that a frame declares.
      const grown = Buffer.allocUnsafeSlow(length * 2);
      tail.copy(grown, 0, 0, this.tailLength);
      tail = grown;
    }
    source.copy(tail, this.tailLength, start, end);
    this.tail = tail;
    this.tailLength = length;
  }

  private presentTail(): void {
    const tail = this.tail as Buffer;
    const end = this.tailLength;
    const consumed = (this.handler as ConnectionHandler).onData(tail, 0, end);
    if (this.closed || consumed === 0) return;
    if (consumed >= end) {
      this.tail = null;
      this.tailLength = 0;
      return;
    }
    tail.copy(tail, 0, consumed, end);
    this.tailLength = end - consumed;
    if (this.tailLength <= this.host.readArea.headroom) this.tail = Buffer.from(tail.subarray(0, this.tailLength));
  }

  pauseReading(): void {
    if (this.paused || this.closed) return;
    this.paused = true;
    this.stopReading();
  }

  resumeReading(): void {
    if (!this.paused || this.closed) return;
    this.paused = false;
    // In the next turn: the caller may be in the middle of other work on this connection.
    this.host.turn.addResumed(this);
  }

  presentAgain(): void {
    if (this.isBroken) this.destroy('network-error');
    this.reportDrain();
    if (this.closed || this.paused) return;
    if (this.tail !== null) this.presentTail();
    if (!this.closed && !this.paused && !this.throttled) this.startReading();
  }

  /** Reads nothing for `delayMs`: the limit of bytes a second. What was read goes its way. */
  throttle(delayMs: number): void {
    if (this.throttled || this.closed) return;
    this.throttled = true;
    this.stopReading();
    setTimeout(() => {
      this.throttled = false;
      if (!this.closed && !this.paused) this.host.turn.addResumed(this);
    }, delayMs).unref();
  }

  // ---- end

  close(reason: CloseReason): void {
    if (this.closed) return;
    if (this.spanKind !== noSpan && this.writing === null) this.flush();
    this.endForHandler(reason);
    this.ending = true;
    if (this.writing === null && this.spanKind === noSpan) this.finish();
    else this.endWithin(flushLimitMs);
  }

  /** Everything was handed to the kernel. */
  private finish(): void {
    this.ending = false;
    this.endWithin(lingerMs);
    this.endOutput();
  }

  private endWithin(limitMs: number): void {
    if (this.endTimer !== null) clearTimeout(this.endTimer);
    this.endTimer = setTimeout(() => this.destroy('client'), limitMs);
    this.endTimer.unref();
  }

  destroy(reason: CloseReason): void {
    const wasClosed = this.closed;
    // Before `abort`: a transport may report its end within that call, and the end counts once.
    this.closed = true;
    if (this.endTimer !== null) clearTimeout(this.endTimer);
    this.dropOutput();
    this.abort();
    if (!wasClosed) this.endForHandler(reason);
  }

  private endForHandler(reason: CloseReason): void {
    this.closed = true;
    this.endReason = reason;
    this.tail = null;
    this.tailLength = 0;
    this.host.ended(this, reason);
    this.handler?.onClose(reason);
  }

  private dropOutput(): void {
    if (this.spanKind === chunkSpan) this.host.turn.memory.giveChunk(this.outputBuffer);
    this.closeSpan();
    this.queue = null;
    this.ending = false;
    this.outputBytes = this.writing === null ? 0 : this.writingBytes;
  }

  // ---- transport

  protected abstract startReading(): void;
  protected abstract stopReading(): void;
  /**
   * Hands bytes to the kernel. With `writePending` the memory stays untouched until `writeCompleted`; with `writeCopied`
   * it is free, and nothing more is written until then.
   */
  protected abstract writeBytes(buffer: Buffer, start: number, end: number): WriteResult;
  /** Everything was handed to the kernel: end the stream in an orderly way, and call `destroy` when the peer did too. */
  protected abstract endOutput(): void;
  /** Give the transport up now; can be called more than once. */
  protected abstract abort(): void;
}

export type WriteResult = 0 | 1 | 2 | 3;
export const writeDone = 0;
export const writePending = 1;
export const writeFailed = 2;
export const writeCopied = 3;
