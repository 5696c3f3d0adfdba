/**
 * A TCP connection driven by Node's TCP handle itself: the fast path (see `std/stream-handle.ts`).
 * Thread: the connection's worker, for its whole life.
 */
import type { ListenerInfo } from '../../core/ports/connection.ts';
import { endOfFile, type StreamInternals, type TcpHandle, type WriteRequest } from '../../std/stream-handle.ts';
import {
  BufferedConnection,
  type ConnectionFacts,
  type ConnectionHost,
  noFacts,
  type WriteResult,
  writeDone,
  writeFailed,
  writePending,
} from './buffered-connection.ts';

export class HandleConnection extends BufferedConnection {
  private readonly handle: TcpHandle;
  private readonly internals: StreamInternals;
  private reading = false;
  private handleIsClosed = false;

  constructor(
    id: number,
    listener: ListenerInfo,
    host: ConnectionHost,
    handle: TcpHandle,
    internals: StreamInternals,
    facts: ConnectionFacts = noFacts,
  ) {
    super(id, listener, host, facts);
    this.handle = handle;
    this.internals = internals;
    const peer: { address?: string; port?: number } = facts.remote ?? {};
    // A Unix socket's handle has no such method: its peer has no address.
    if (facts.remote == null) handle.getpeername?.(peer);
    this.remoteAddress = peer.address ?? '';
    this.remotePort = peer.port ?? 0;
    handle.useUserBuffer(host.readArea.target);
    handle.onread = () => this.onRead();
  }

  private onRead(): void {
    const count = this.internals.state[this.internals.readBytesOrError] as number;
    if (count > 0) {
      this.received(count);
    } else if (count < 0) {
      this.destroy(count === endOfFile ? 'client' : 'network-error');
    }
  }

  protected startReading(): void {
    if (this.reading || this.handleIsClosed) return;
    this.reading = true;
    if (this.handle.readStart() < 0) this.destroy('network-error');
  }

  protected stopReading(): void {
    if (!this.reading || this.handleIsClosed) return;
    this.reading = false;
    this.handle.readStop();
  }

  protected writeBytes(buffer: Buffer, start: number, end: number): WriteResult {
    const { internals } = this;
    const bytes = start === 0 && end === buffer.length ? buffer : this.host.turn.memory.view(buffer, start, end);
    const request = spareRequest ?? internals.createWriteRequest();
    spareRequest = request;
    if (this.handle.writeBuffer(request, bytes) < 0) return writeFailed;
    // A write that the kernel took at once did not touch the request, so that one request serves all of them.
    if (internals.state[internals.lastWriteWasAsync] === 0) return writeDone;
    spareRequest = null;
    request.handle = this.handle;
    request.buffer = bytes;
    request.oncomplete = (status) => this.writeCompleted(status === 0);
    return writePending;
  }

  protected endOutput(): void {
    if (this.handleIsClosed) return;
    const request = this.internals.createShutdownRequest();
    request.oncomplete = () => undefined;
    // Closing with unread input would reset the connection and take our last words away from the peer: read on until
    // it closes, for a while.
    if (this.handle.shutdown(request) < 0) this.destroy('network-error');
    else this.startReading();
  }

  protected abort(): void {
    if (this.handleIsClosed) return;
    this.handleIsClosed = true;
    this.handle.close();
  }
}

/** One per thread: modules are instantiated once per worker. */
let spareRequest: WriteRequest | null = null;
