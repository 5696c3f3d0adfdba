/**
 * A connection over any Node stream through public interfaces: TLS, and TCP where the handle cannot be driven directly.
 * Thread: the connection's worker, for its whole life.
 */
import type { Duplex } from 'node:stream';
import type { ListenerInfo } from '../../core/ports/connection.ts';
import {
  BufferedConnection,
  type ConnectionFacts,
  type ConnectionHost,
  noFacts,
  type WriteResult,
  writeDone,
  writePending,
} from './buffered-connection.ts';

export class StreamConnection extends BufferedConnection {
  private readonly stream: Duplex;

  constructor(
    id: number,
    listener: ListenerInfo,
    host: ConnectionHost,
    stream: Duplex,
    peer: { address: string; port: number },
    facts: ConnectionFacts = noFacts,
  ) {
    super(id, listener, host, facts);
    this.stream = stream;
    this.remoteAddress = facts.remote?.address ?? peer.address;
    this.remotePort = facts.remote?.port ?? peer.port;
    stream.on('data', (chunk: Buffer) => this.onChunk(chunk));
    stream.pause(); // A listener for data has set it flowing; the handler does not exist yet.
    // After `close` the stream goes by itself, when its output has left too.
    stream.on('end', () => (this.closed ? undefined : this.destroy('client')));
    stream.on('error', () => this.destroy('network-error'));
    stream.on('close', () => this.destroy('network-error'));
    // It broke on its way here and may have said so already.
    if (stream.destroyed) setImmediate(() => this.destroy('network-error'));
  }

  private onChunk(chunk: Buffer): void {
    const { target } = this.host.readArea;
    for (let offset = 0; offset < chunk.length; offset += target.length) {
      const length = Math.min(target.length, chunk.length - offset);
      chunk.copy(target, 0, offset, offset + length);
      this.received(length);
    }
  }

  protected startReading(): void {
    this.stream.resume();
  }

  protected stopReading(): void {
    this.stream.pause();
  }

  protected writeBytes(buffer: Buffer, start: number, end: number): WriteResult {
    // The stream keeps a reference until its callback; slab memory is used again next turn, so it gets a copy.
    const done = this.stream.write(Buffer.from(buffer.subarray(start, end)), (error) => {
      if (!accepted) this.writeCompleted(error === null || error === undefined);
    });
    const accepted = done;
    return accepted ? writeDone : writePending;
  }

  protected endOutput(): void {
    this.stream.end();
    this.stream.resume();
  }

  protected abort(): void {
    this.stream.destroy();
  }
}
