/**
 * One connection for calls on keys, to one server: frames of `call-frames.ts`. Any thread; owned by the pipeline, which
 * decides what to do when it breaks.
 *
 * What a message of calls costs: one encoding into the writer of the thread, two copies, one write. Answers are copied once and
 * decoded there, and values that are handed out are views of that.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { callFrameKinds, callPingFrame, callPreface, callProtocol } from '../call-frames.ts';
import { FrameSocket } from '../frame-socket.ts';
import { encodeFrame, FrameReader } from '../frames.ts';
import { PipelineRequest, PipelineResponse } from '../generated/ringmq/placement/v1/kv.ts';
import { rpcStatus } from '../status.ts';
import { PlacementCallError } from './errors.ts';
import { type ClientTls, connectTo } from './server-security.ts';

/** A server that says nothing for so long after a ping is gone, ms. Pings go out while calls wait for answers. */
const pingTimeoutMs = 2000;
const pingEveryMs = 1000;
const connectTimeoutMs = 10_000;
/** Answers are bounded by the server; this is against servers that are none. */
const receiveBytesMax = 64 * 1024 * 1024;
/** Of calls that the server does not read; with more it gets none until it has read them. */
const callsBytesMax = 64 * 1024;

export interface CallStreamEvents {
  onResponse(response: PipelineResponse): void;
  /** There is room again after `write` answered false. */
  onDrain(): void;
  /** Nothing more comes, and calls without an answer get none. Called once, never inside of the constructor or `write`. */
  onEnd(error: PlacementCallError): void;
}

export class CallStream {
  private readonly address: string;
  private readonly events: CallStreamEvents;
  private readonly socket: Socket;
  private readonly bytes: FrameSocket;
  private readonly reader: FrameReader;
  private isConnected = false;
  private isOver = false;
  /** Ended by this side: what happens to the connection now concerns nobody. */
  private isEnded = false;
  private reason = 'the server ended the connection';
  private lastHeardMs = performance.now();
  private pingedMs = 0;

  /** Connects. Throws for TLS settings that are no certificates or keys. */
  constructor(address: string, tls: ClientTls | null, events: CallStreamEvents) {
    this.address = address;
    this.events = events;
    this.reader = new FrameReader(receiveBytesMax, (kind, body) => this.take(kind, body));
    this.socket = connectTo(address, tls, callProtocol);
    if (tls === null) this.socket.on('connect', () => this.connected());
    else this.socket.on('secureConnect', () => this.secured(this.socket as TLSSocket));
    this.socket.setKeepAlive(true, 10_000);
    this.socket.on('error', (error) => {
      this.reason = error.message;
    });
    this.socket.on('close', () => this.over());
    this.bytes = new FrameSocket(this.socket, {
      onData: (chunk) => this.read(chunk),
      onWritten: () => {
        if (this.bytes.queuedBytes === 0) events.onDrain();
      },
    });
    this.bytes.write(callPreface);
  }

  /** False: the server reads too slowly, wait for `onDrain`. */
  write(request: PipelineRequest): boolean {
    if (this.socket.destroyed) return true;
    this.bytes.write(encodeFrame(callFrameKinds.request, PipelineRequest.encode(request).finish()));
    return this.bytes.queuedBytes < callsBytesMax;
  }

  /** Looks whether the server still lives; call it now and then while answers are waited for. */
  check(nowMs: number): void {
    if (this.isOver) return;
    const silentMs = nowMs - this.lastHeardMs;
    if (!this.isConnected) {
      if (silentMs < connectTimeoutMs) return;
      this.reason = 'it does not answer';
      this.socket.destroy();
    } else if (this.pingedMs > this.lastHeardMs) {
      if (nowMs - this.pingedMs < pingTimeoutMs) return;
      this.reason = 'it says nothing any more';
      this.socket.destroy();
    } else if (silentMs >= pingEveryMs) {
      this.pingedMs = nowMs;
      this.bytes.write(callPingFrame);
    }
  }

  /** No more calls; nothing is reported any more. */
  end(): void {
    this.isEnded = true;
    this.socket.end();
    // A server that does not close its side would keep the connection, and this process.
    this.socket.setTimeout(pingTimeoutMs, () => this.socket.destroy());
  }

  /** At once; nothing is reported any more. */
  cancel(): void {
    this.isEnded = true;
    this.socket.destroy();
  }

  /** In TLS a server that does not know the protocol would take the calls for HTTP/2. */
  private secured(socket: TLSSocket): void {
    if (socket.alpnProtocol === callProtocol) {
      this.connected();
      return;
    }
    this.reason = `it does not speak ${callProtocol}`;
    socket.destroy();
  }

  private connected(): void {
    this.isConnected = true;
    this.lastHeardMs = performance.now();
  }

  private read(chunk: Buffer): void {
    this.lastHeardMs = performance.now();
    try {
      this.reader.push(chunk);
    } catch (error) {
      this.reason = (error as Error).message;
      this.socket.destroy();
    }
  }

  private take(kind: number, body: Buffer): boolean {
    if (kind === callFrameKinds.response) this.events.onResponse(PipelineResponse.decode(body));
    else if (kind === callFrameKinds.refused) {
      this.reason = body.toString('utf8');
      this.socket.destroy();
    } else if (kind !== callFrameKinds.pong) throw new Error(`it sent a frame of kind ${kind}`);
    return !this.socket.destroyed;
  }

  private over(): void {
    if (this.isOver) return;
    this.isOver = true;
    if (this.isEnded) return;
    // Before the connection is there nothing was sent, so whatever was written may be sent again elsewhere.
    const code = this.isConnected ? 'UNAVAILABLE' : 'NOT_CONNECTED';
    const verb = this.isConnected ? 'go on with' : 'connect to';
    const message = `Cannot ${verb} "${this.address}": ${this.reason}`;
    this.events.onEnd(new PlacementCallError(code, rpcStatus.UNAVAILABLE, message));
  }
}
