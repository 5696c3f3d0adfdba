/**
 * Reads and writes of a connection that carries frames (`frames.ts`), past the machinery of Node's streams. Any thread.
 *
 * A read or write of `net.Socket` leaves some 3 KiB of garbage, which was most of what a write to the placement centre left,
 * and collections of it were its tail. So bytes go through the socket's handle (`std/stream-handle.ts`), where it is plain TCP;
 * all else stays with the socket: its addresses, its time-outs but for those of silence, its end, and who is told of it. With
 * TLS, and while it connects, the socket's own methods are used.
 *
 * Cost: a read is one copy into memory of its own size; a write that the kernel takes at once leaves nothing.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { getSystemErrorName } from 'node:util';
import {
  borrowHandle,
  endOfFile,
  findStreamInternals,
  type StreamInternals,
  type TcpHandle,
  type WriteRequest,
} from '../std/stream-handle.ts';

export interface FrameSocketEvents {
  /** `chunk` is not written again. */
  onData(chunk: Buffer): void;
  /** Something that had to wait has left; see `queuedBytes`. Never called inside of `write`. */
  onWritten(): void;
}

const readBytes = 65_536;
const internals = findStreamInternals();

export class FrameSocket {
  private readonly socket: Socket;
  private readonly events: FrameSocketEvents;
  /** Null: the socket's own methods are used. */
  private handle: TcpHandle | null = null;
  private waitingBytes = 0;
  private isPaused = false;

  /** From here on nobody else reads `socket`; what others write to it arrives in the order of the calls. */
  constructor(socket: Socket, events: FrameSocketEvents) {
    this.socket = socket;
    this.events = events;
    if (internals === null || socket instanceof TLSSocket) this.listen();
    else if (socket.connecting) socket.once('connect', () => this.takeOver(internals));
    else this.takeOver(internals);
  }

  /** Of what was written, and neither the kernel nor TLS have taken yet. */
  get queuedBytes(): number {
    return this.waitingBytes + this.socket.writableLength;
  }

  /** `bytes` must not be changed any more. Nothing happens when the connection is over. */
  write(bytes: Buffer): void {
    const { handle, socket } = this;
    if (!socket.writable) return;
    // While the socket has something of its own to write, only it knows the order.
    if (handle === null || internals === null || socket.writableLength > 0) socket.write(bytes, this.onWritten);
    else this.writeDirectly(handle, internals, bytes);
  }

  /** Nothing is read until `resume`. */
  pause(): void {
    const { handle, socket } = this;
    this.isPaused = true;
    if (handle === null) socket.pause();
    else if (!socket.destroyed && handle.reading === true) {
      handle.reading = false;
      handle.readStop();
    }
  }

  resume(): void {
    const { handle, socket } = this;
    this.isPaused = false;
    if (handle === null) socket.resume();
    else if (!socket.destroyed) this.startReading(handle);
  }

  private readonly onWritten = (error?: Error | null): void => {
    if (error == null && !this.socket.destroyed) this.events.onWritten();
  };

  private listen(): void {
    this.socket.on('data', (chunk: Buffer) => this.events.onData(chunk));
    if (!this.isPaused) this.socket.resume();
  }

  private takeOver(found: StreamInternals): void {
    const { socket } = this;
    const handle = borrowHandle(socket);
    if (handle === null) {
      this.listen();
      return;
    }
    this.handle = handle;
    readArea ??= Buffer.allocUnsafeSlow(readBytes);
    handle.useUserBuffer(readArea);
    handle.onread = () => this.read(found.state[found.readBytesOrError] as number);
    if (!this.isPaused) this.startReading(handle);
  }

  private startReading(handle: TcpHandle): void {
    if (handle.reading === true) return;
    // The socket would start it a second time, which is an error.
    handle.reading = true;
    const status = handle.readStart();
    if (status < 0) this.fail('read', status);
  }

  private read(count: number): void {
    const { socket } = this;
    if (count > 0) {
      const chunk = Buffer.allocUnsafe(count);
      (readArea as Buffer).copy(chunk, 0, 0, count);
      this.events.onData(chunk);
    } else if (count === endOfFile) socket.destroy();
    else if (count < 0) this.fail('read', count);
  }

  private writeDirectly(
    handle: TcpHandle,
    { state, lastWriteWasAsync, createWriteRequest }: StreamInternals,
    bytes: Buffer,
  ): void {
    const request = spareRequest ?? createWriteRequest();
    spareRequest = request;
    const status = handle.writeBuffer(request, bytes);
    if (status < 0) this.fail('write', status);
    else if (state[lastWriteWasAsync] !== 0) this.waitFor(handle, request, bytes);
  }

  /** The kernel has taken a part at the most; libuv writes the rest, and what comes after it, in order. */
  private waitFor(handle: TcpHandle, request: WriteRequest, bytes: Buffer): void {
    spareRequest = null;
    this.waitingBytes += bytes.length;
    request.handle = handle;
    request.buffer = bytes;
    request.oncomplete = (status) => {
      this.waitingBytes -= bytes.length;
      if (status < 0) this.fail('write', status);
      else this.onWritten();
    };
  }

  private fail(call: string, status: number): void {
    const { socket } = this;
    if (socket.destroyed) return;
    const code = getSystemErrorName(status);
    socket.destroy(Object.assign(new Error(`${call} ${code}`), { code, errno: status, syscall: call }));
  }
}

/** What the kernel copies into; consumed before the next read. Like the request, one per thread. */
let readArea: Buffer | null = null;
/** A write that the kernel took at once did not touch its request, so that one serves all of them. */
let spareRequest: WriteRequest | null = null;
