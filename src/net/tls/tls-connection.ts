/**
 * A TLS connection after its hand-shake, driven by Node's TLS handle itself (see `std/stream-handle.ts`): decrypted
 * bytes land in the worker's read area without a buffer of their own. Thread: the connection's worker.
 *
 * Cost of TLS beside TCP, measured (docs/operations/listeners.md): two copies and the cipher per record. The handle takes
 * the clear text at once but reports the end of the write in a later turn, so what comes meanwhile is gathered in a chunk.
 */
import type { TLSSocket } from 'node:tls';
import type { ListenerInfo } from '../../core/ports/connection.ts';
import { endOfFile, type StreamInternals, type TcpHandle } from '../../std/stream-handle.ts';
import {
  BufferedConnection,
  type ConnectionFacts,
  type ConnectionHost,
  type WriteResult,
  writeCopied,
  writeDone,
  writeFailed,
} from '../tcp/buffered-connection.ts';

export class TlsConnection extends BufferedConnection {
  private readonly socket: TLSSocket;
  private readonly handle: TcpHandle;
  private readonly internals: StreamInternals;
  private reading = false;
  private isGone = false;

  /** To be called while the hand-shake's end is reported, before anything else can be read. */
  constructor(
    id: number,
    listener: ListenerInfo,
    host: ConnectionHost,
    socket: TLSSocket,
    handle: TcpHandle,
    internals: StreamInternals,
    peer: { readonly address: string; readonly port: number },
    facts: ConnectionFacts,
  ) {
    super(id, listener, host, facts);
    this.socket = socket;
    this.handle = handle;
    this.internals = internals;
    this.remoteAddress = facts.remote?.address ?? peer.address;
    this.remotePort = facts.remote?.port ?? peer.port;
    handle.useUserBuffer(host.readArea.target);
    handle.onread = () => this.onRead();
    handle.readStop();
    // A broken record, or a reset below: the socket has destroyed itself.
    socket.on('error', () => this.destroy('network-error'));
    socket.on('close', () => this.destroy('network-error'));
  }

  private onRead(): void {
    const count = this.internals.state[this.internals.readBytesOrError] as number;
    if (count > 0) {
      const { buffer, headroom } = this.host.readArea;
      // What was decrypted together is presented together, also when the handler has had enough meanwhile.
      if (this.paused) this.receivedWhilePaused(buffer, headroom, headroom + count);
      else this.received(count);
    } else if (count < 0) {
      this.destroy(count === endOfFile ? 'client' : 'network-error');
    }
  }

  protected startReading(): void {
    if (this.reading || this.isGone) return;
    this.reading = true;
    if (this.handle.readStart() < 0) this.destroy('network-error');
  }

  protected stopReading(): void {
    if (!this.reading || this.isGone) return;
    this.reading = false;
    this.handle.readStop();
  }

  protected writeBytes(buffer: Buffer, start: number, end: number): WriteResult {
    if (this.isGone) return writeFailed;
    const { internals } = this;
    const request = internals.createWriteRequest();
    request.handle = this.handle;
    request.oncomplete = (status) => this.writeCompleted(status === 0);
    const bytes = this.host.turn.memory.view(buffer, start, end);
    if (this.handle.writeBuffer(request, bytes) < 0) return writeFailed;
    return internals.state[internals.lastWriteWasAsync] === 0 ? writeDone : writeCopied;
  }

  protected endOutput(): void {
    if (this.isGone) return;
    const request = this.internals.createShutdownRequest();
    request.oncomplete = () => undefined;
    // Sends close_notify, then the end of the stream; read on until the peer closes, for a while.
    if (this.handle.shutdown(request) < 0) this.destroy('network-error');
    else this.startReading();
  }

  protected abort(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.socket.destroy();
  }
}
