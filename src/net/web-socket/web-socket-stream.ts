/**
 * A WebSocket as a stream of bytes for a protocol: the contents of binary messages one after the other, whatever their
 * borders are. Output of a turn is one binary message. Lives on the worker that got the connection; the same over both
 * HTTP adapters.
 */
import type { CloseReason, ListenerInfo } from '../../core/ports/connection.ts';
import type { WebSocketConnection, WebSocketHandler } from '../http/port.ts';
import {
  BufferedConnection,
  type ConnectionHost,
  type WriteResult,
  writeCopied,
  writeDone,
  writeFailed,
} from '../tcp/buffered-connection.ts';

/** RFC 6455, section 7.4.1. */
const normalClosure = 1000;
const unsupportedData = 1003;
const messageTooBig = 1009;
const tryAgainLater = 1013;

/**
 * Input that is kept for a handler that has paused, bytes. `ws` stops within one read of the socket; uWebSockets.js cannot
 * stop, so a client that does not either is cut here.
 */
const pausedBytesMax = 1_048_576;

export interface WebSocketStreamOptions {
  readonly id: number;
  readonly listener: ListenerInfo;
  readonly host: ConnectionHost;
  /** The client sent text, or more than may wait. */
  readonly refused: (why: 'web-socket-text' | 'web-socket-unread' | 'web-socket-too-big') => void;
}

export class WebSocketStreamConnection extends BufferedConnection implements WebSocketHandler {
  private readonly webSocket: WebSocketConnection;
  private readonly refused: WebSocketStreamOptions['refused'];
  private closeCode = 0;
  private pausedBytes = 0;
  private isGone = false;

  constructor({ id, listener, host, refused }: WebSocketStreamOptions, webSocket: WebSocketConnection) {
    super(id, listener, host, webSocket.facts);
    this.webSocket = webSocket;
    this.refused = refused;
    this.remoteAddress = webSocket.remoteAddress;
    this.remotePort = webSocket.remotePort;
  }

  onMessage(data: Buffer, isBinary: boolean): void {
    if (this.closed) return;
    if (!isBinary) {
      // [MQTT-6.0.0-1], and in the same way for every other protocol of bytes.
      this.refuse('web-socket-text', unsupportedData, 'protocol-error');
      return;
    }
    if (this.paused) {
      this.pausedBytes += data.length;
      if (this.pausedBytes > pausedBytesMax) this.refuse('web-socket-unread', tryAgainLater, 'limit');
      else this.receivedWhilePaused(data, 0, data.length);
      return;
    }
    this.pausedBytes = 0;
    this.presentMessage(data);
  }

  private presentMessage(data: Buffer): void {
    const { target } = this.host.readArea;
    for (let offset = 0; offset < data.length && !this.closed; ) {
      if (this.paused) {
        this.receivedWhilePaused(data, offset, data.length);
        return;
      }
      const length = Math.min(target.length, data.length - offset);
      data.copy(target, 0, offset, offset + length);
      offset += length;
      this.received(length);
    }
  }

  private refuse(why: Parameters<typeof this.refused>[0], code: number, reason: CloseReason): void {
    this.closeCode = code;
    this.refused(why);
    this.destroy(reason);
  }

  onDrain(): void {
    this.writeCompleted(true);
  }

  onClose(code: number): void {
    this.isGone = true;
    if (code === messageTooBig && !this.closed) this.refused('web-socket-too-big');
    this.destroy(code === messageTooBig ? 'limit' : code === 1006 ? 'network-error' : 'client');
  }

  protected startReading(): void {
    this.pausedBytes = 0;
    if (!this.isGone) this.webSocket.resume();
  }

  protected stopReading(): void {
    if (!this.isGone) this.webSocket.pause();
  }

  protected writeBytes(buffer: Buffer, start: number, end: number): WriteResult {
    if (this.isGone || this.webSocket.closed) return writeFailed;
    this.webSocket.send(buffer.subarray(start, end));
    return this.webSocket.bufferedAmount > 0 ? writeCopied : writeDone;
  }

  protected endOutput(): void {
    if (this.isGone) this.destroy('client');
    else this.webSocket.close(normalClosure, '');
  }

  protected abort(): void {
    if (this.isGone) return;
    // With a code the peer is told; `ws` and uWebSockets.js cut a peer that does not answer.
    if (this.closeCode === 0) this.webSocket.destroy();
    else this.webSocket.close(this.closeCode, '');
  }
}
