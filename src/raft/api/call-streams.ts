/**
 * Calls of clients that come over connections of their own (`rpc/call-frames.ts`), on the port that they share with gRPC.
 * Thread: the Raft worker; made by `server.ts`, fed with connections by the shared port.
 *
 * Memory of a connection: one frame that is being received (`receiveBytesMax`), and what the pipeline bounds.
 */
import type { Socket } from 'node:net';
import { callFrameKinds, callPongFrame, callPreface, callProtocol } from '../../rpc/call-frames.ts';
import { FrameSocket } from '../../rpc/frame-socket.ts';
import { encodeFrame, FrameReader } from '../../rpc/frames.ts';
import { PipelineRequest, PipelineResponse } from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import { toError } from '../../std/errors.ts';
import type { ApiLimits } from './context.ts';
import type { Pipeline, PipelineChannel, PipelineHub } from './pipeline.ts';
import { endWith, type StreamOffer } from './shared-port.ts';

/** The kernel looks after clients that are silent: one that is gone without a trace is noticed after a minute or two. */
const keepAliveMs = 30_000;
/** Answers that the client does not read: with more it is not read itself. */
const answersBytesMax = 64 * 1024;

export class CallStreams implements StreamOffer {
  readonly preface = callPreface;
  readonly protocol = callProtocol;
  private readonly hub: PipelineHub;
  private readonly limits: ApiLimits;
  private count = 0;
  private isClosed = false;

  constructor(hub: PipelineHub, limits: ApiLimits) {
    this.hub = hub;
    this.limits = limits;
  }

  accept(socket: Socket, first: Buffer): void {
    this.count += 1;
    socket.on('close', () => {
      this.count -= 1;
    });
    const stream = new CallStream(socket, this.hub, this.limits.receiveBytesMax);
    if (this.isClosed) stream.refuse('the node stops');
    else if (this.count > this.limits.callStreamsMax)
      stream.refuse(`${this.limits.callStreamsMax} clients are connected`);
    else stream.begin(first);
  }

  /** New connections are refused; the hub says goodbye on those that are open. */
  close(): void {
    this.isClosed = true;
  }
}

class CallStream implements PipelineChannel {
  private readonly socket: Socket;
  private readonly hub: PipelineHub;
  private readonly reader: FrameReader;
  private bytes: FrameSocket | null = null;
  private pipeline: Pipeline | null = null;
  private isRefused = false;

  constructor(socket: Socket, hub: PipelineHub, receiveBytesMax: number) {
    this.socket = socket;
    this.hub = hub;
    this.reader = new FrameReader(receiveBytesMax, (kind, body) => this.take(kind, body), {
      bytes: callPreface,
      onRead: () => {
        this.pipeline = this.hub.open(this);
      },
    });
    socket.setKeepAlive(true, keepAliveMs);
    // The event `close` follows and says enough.
    socket.on('error', () => undefined);
  }

  begin(first: Buffer): void {
    const { socket } = this;
    socket.on('close', () => this.pipeline?.over());
    const bytes = new FrameSocket(socket, {
      onData: (chunk) => this.read(chunk),
      onWritten: () => {
        if (bytes.queuedBytes === 0) this.pipeline?.drain();
      },
    });
    this.bytes = bytes;
    if (first.length > 0) this.read(first);
  }

  get isWritable(): boolean {
    return this.socket.writable;
  }

  write(response: PipelineResponse): boolean {
    const { bytes } = this;
    if (bytes === null) return true;
    bytes.write(encodeFrame(callFrameKinds.response, PipelineResponse.encode(response).finish()));
    return bytes.queuedBytes < answersBytesMax;
  }

  end(): void {
    this.socket.end();
  }

  pause(): void {
    this.bytes?.pause();
  }

  resume(): void {
    this.bytes?.resume();
  }

  /** Says why, and lets the client go. */
  refuse(reason: string): void {
    if (this.isRefused) return;
    this.isRefused = true;
    this.pipeline?.over();
    endWith(this.socket, encodeFrame(callFrameKinds.refused, Buffer.from(reason)));
  }

  private read(chunk: Buffer): void {
    if (this.isRefused) return;
    try {
      this.reader.push(chunk);
    } catch (error) {
      // Whatever the readers complain about: these bytes come from anybody.
      this.refuse(toError(error).message);
    }
  }

  private take(kind: number, body: Buffer): boolean {
    if (kind === callFrameKinds.request) this.pipeline?.take(PipelineRequest.decode(body));
    else if (kind !== callFrameKinds.ping) throw new Error(`Cannot read a frame: there is no kind ${kind}`);
    // One that does not read its answers is not answered.
    else if (this.bytes?.queuedBytes === 0) this.bytes.write(callPongFrame);
    return !this.isRefused;
  }
}
