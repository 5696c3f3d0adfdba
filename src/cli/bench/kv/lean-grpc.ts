/**
 * Unary gRPC calls over one plain HTTP/2 connection at a small part of what a full client costs, so that the load is not
 * what limits a server that is measured: fixed request headers, no header decoding, all calls of a turn in one write.
 * A call without an answer message is an error whose reason is not read. Thread of the harness; used by `etcd-target.ts`.
 *
 * RFC 9113 (frames) and RFC 7541 (header block). The header table of answers is set to size 0, which nobody decodes.
 */
import { connect, type Socket } from 'node:net';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const FRAME_HEAD_BYTES = 9;
const WINDOW_MAX = 0x7fffffff;
const WINDOW_START = 65_535;
/** A window update goes out when this much of the connection's window is used. */
const WINDOW_RENEW_BYTES = 1 << 28;

const frames = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
const flags = { endStream: 1, ack: 1, endHeaders: 4, padded: 8 } as const;
const settings = { headerTableSize: 1, enablePush: 2, initialWindowSize: 4 } as const;

/** `answer` is the message without its gRPC head, valid during the call; null when the call failed. */
export type LeanDone = (error: string | null, answer: Buffer | null) => void;

interface Call {
  readonly done: LeanDone;
  answer: Buffer | null;
}

export class LeanGrpcConnection {
  private readonly socket: Socket;
  private readonly calls = new Map<number, Call>();
  private readonly authority: string;
  private readonly opened = Promise.withResolvers<void>();
  private nextStream = 1;
  /** Bytes of request data that the server still takes. */
  private sendWindow = WINDOW_START;
  private receivedBytes = 0;
  private rest: Uint8Array | null = null;
  private outgoing: Buffer[] = [];
  /** Requests that wait for the window: stream and data frame. */
  private readonly held: Buffer[] = [];
  private isFlushing = false;
  private areHeadersKnown = false;
  private failure: string | null = null;

  constructor(endpoint: string) {
    this.authority = endpoint;
    const colon = endpoint.lastIndexOf(':');
    const host = endpoint.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
    this.socket = connect({ host, port: Number(endpoint.slice(colon + 1)), noDelay: true });
    this.socket.on('connect', () => this.sendPreface());
    this.socket.on('data', (chunk: Buffer) => this.onData(chunk));
    this.socket.on('error', (error) => this.fail(error.message));
    this.socket.on('close', () => this.fail('connection closed'));
    // `connect` may never be awaited by a caller that closes at once.
    this.opened.promise.catch(() => undefined);
  }

  /** Resolves when the server has shown its settings. */
  connect(): Promise<void> {
    return this.opened.promise;
  }

  call(path: string, message: Uint8Array, done: LeanDone): void {
    if (this.failure !== null) {
      const reason = this.failure;
      queueMicrotask(() => done(reason, null));
      return;
    }
    const stream = this.nextStream;
    this.nextStream += 2;
    this.calls.set(stream, { done, answer: null });
    this.outgoing.push(frame(frames.headers, flags.endHeaders, stream, this.headerBlock(path)));
    const body = Buffer.allocUnsafe(5 + message.length);
    body[0] = 0; // not compressed
    body.writeUInt32BE(message.length, 1);
    body.set(message, 5);
    this.sendData(frame(frames.data, flags.endStream, stream, body));
    this.flushSoon();
  }

  close(): void {
    this.socket.destroy();
  }

  private sendPreface(): void {
    const wanted = Buffer.alloc(18);
    [
      [settings.headerTableSize, 0],
      [settings.enablePush, 0],
      [settings.initialWindowSize, WINDOW_MAX],
    ].forEach(([name, value], index) => {
      wanted.writeUInt16BE(name, index * 6);
      wanted.writeUInt32BE(value, index * 6 + 2);
    });
    this.socket.write(Buffer.concat([Buffer.from(PREFACE), frame(frames.settings, 0, 0, wanted)]));
    this.socket.write(windowUpdate(WINDOW_MAX - WINDOW_START));
  }

  private sendData(data: Buffer): void {
    const size = data.length - FRAME_HEAD_BYTES;
    if (this.held.length > 0 || size > this.sendWindow) {
      this.held.push(data);
      return;
    }
    this.sendWindow -= size;
    this.outgoing.push(data);
  }

  private sendHeld(): void {
    while (this.held.length > 0 && this.held[0].length - FRAME_HEAD_BYTES <= this.sendWindow) {
      const data = this.held.shift() as Buffer;
      this.sendWindow -= data.length - FRAME_HEAD_BYTES;
      this.outgoing.push(data);
    }
    this.flushSoon();
  }

  private flushSoon(): void {
    if (this.isFlushing) return;
    this.isFlushing = true;
    // After all answers of this turn had their callbacks, which make the next calls.
    process.nextTick(() => {
      this.isFlushing = false;
      const { outgoing } = this;
      if (outgoing.length === 0 || this.failure !== null) return;
      this.outgoing = [];
      this.socket.write(outgoing.length === 1 ? outgoing[0] : Buffer.concat(outgoing));
    });
  }

  /** The first call puts what all have in common into the server's table; the others name the places. */
  private headerBlock(path: string): Buffer {
    const start = Buffer.from([0x83, 0x86, 0x04, path.length]); // POST, http, and `:path` that is not kept
    const parts: Uint8Array[] = [start, Buffer.from(path, 'latin1')];
    if (this.areHeadersKnown)
      parts.push(Buffer.from([0xc0, 0xbf, 0xbe])); // places 64, 63, 62: `:authority` comes first
    else {
      // Kept in the table; the last one gets place 62. The authority has name 1, the content type 31 of the fixed table.
      parts.push(Buffer.from([0x41]), text(this.authority));
      parts.push(Buffer.from([0x5f]), text('application/grpc'));
      parts.push(Buffer.from([0x40]), text('te'), text('trailers'));
    }
    this.areHeadersKnown = true;
    return Buffer.concat(parts);
  }

  private onData(chunk: Buffer): void {
    const source = this.rest === null ? chunk : Buffer.concat([this.rest, chunk]);
    let at = 0;
    while (source.length - at >= FRAME_HEAD_BYTES) {
      const end = at + FRAME_HEAD_BYTES + source.readUIntBE(at, 3);
      if (end > source.length) break;
      this.onFrame(
        source[at + 3],
        source[at + 4],
        source.readUInt32BE(at + 5) & WINDOW_MAX,
        source.subarray(at + 9, end),
      );
      at = end;
    }
    this.rest = at === source.length ? null : source.subarray(at);
  }

  private onFrame(type: number, flagBits: number, stream: number, payload: Buffer): void {
    switch (type) {
      case frames.data:
        this.onAnswer(stream, (flagBits & flags.padded) === 0 ? payload : payload.subarray(1, -payload[0]));
        this.renewWindow(payload.length);
        break;
      case frames.settings:
        if ((flagBits & flags.ack) !== 0) return;
        this.socket.write(frame(frames.settings, flags.ack, 0, Buffer.alloc(0)));
        this.opened.resolve();
        return;
      case frames.windowUpdate:
        if (stream === 0) {
          this.sendWindow += payload.readUInt32BE(0);
          this.sendHeld();
        }
        return;
      case frames.ping:
        if ((flagBits & flags.ack) === 0) this.socket.write(frame(frames.ping, flags.ack, 0, payload));
        return;
      case frames.reset:
        this.finish(stream, `stream reset with code ${payload.readUInt32BE(0)}`);
        return;
      case frames.goAway:
        this.fail(`server said goodbye with code ${payload.readUInt32BE(4)}`);
        return;
      default:
        if (type !== frames.headers) return;
    }
    if ((flagBits & flags.endStream) !== 0) this.finish(stream, null);
  }

  private onAnswer(stream: number, payload: Buffer): void {
    const call = this.calls.get(stream);
    if (call === undefined) return;
    call.answer = call.answer === null ? payload : Buffer.concat([call.answer, payload]);
  }

  private finish(stream: number, error: string | null): void {
    const call = this.calls.get(stream);
    if (call === undefined) return;
    this.calls.delete(stream);
    if (error !== null) call.done(error, null);
    else if (call.answer === null) call.done('refused, reason not read', null);
    else call.done(null, call.answer.subarray(5));
  }

  private renewWindow(bytes: number): void {
    this.receivedBytes += bytes;
    if (this.receivedBytes < WINDOW_RENEW_BYTES) return;
    this.socket.write(windowUpdate(this.receivedBytes));
    this.receivedBytes = 0;
  }

  private fail(reason: string): void {
    if (this.failure !== null) return;
    this.failure = reason;
    this.opened.reject(new Error(reason));
    this.socket.destroy();
    const calls = [...this.calls.values()];
    this.calls.clear();
    for (const call of calls) call.done(reason, null);
  }
}

function frame(type: number, flagBits: number, stream: number, payload: Uint8Array): Buffer {
  const target = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.length);
  target.writeUIntBE(payload.length, 0, 3);
  target[3] = type;
  target[4] = flagBits;
  target.writeUInt32BE(stream, 5);
  target.set(payload, FRAME_HEAD_BYTES);
  return target;
}

function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frame(frames.windowUpdate, 0, 0, payload);
}

/** A header's text: one byte of length (below 127), not Huffman-coded. */
function text(value: string): Buffer {
  return Buffer.concat([Buffer.from([value.length]), Buffer.from(value, 'latin1')]);
}
