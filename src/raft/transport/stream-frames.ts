/**
 * The stream of messages from one replica to another, as bytes. Used by both ends on the Raft worker; pure.
 *
 * A connection carries messages one way, for as long as both replicas live. It is no gRPC call: with a few small messages per
 * write, the library and HTTP/2 below it took more time than all of Raft (ADR 0010).
 *
 * ```
 * sender    := preface frame(hello) frame(batch | ping)*
 * receiver  := frame(accepted) frame(pong)* | frame(refused)      -- refused may also come later, and is the last
 * frame     := size:u32 kind:u8 body[size]                        -- little-endian
 * hello     := message Hello of peer.proto
 * batch     := what `message-codec.ts` describes, with a checksum
 * refused   := status:u8 text                                     -- status of gRPC
 * ```
 *
 * A ping is answered by a pong, so that a connection on which nothing comes back is noticed.
 */
import { Hello } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { type BatchMessage, batchSize, encodeBatch, protocolVersion } from './message-codec.ts';
import type { PeerIdentity } from './peer-ports.ts';

/** How every stream begins: unlike HTTP/2, which has the same port. */
export const streamPreface = Buffer.from('RINGPEER', 'latin1');
/** The same in TLS (ALPN). */
export const streamProtocol = 'ringmq-peer';

export const frameKinds = { hello: 1, batch: 2, ping: 3, accepted: 16, refused: 17, pong: 18 } as const;

export const frameHeaderBytes = 5;
/** Of everything but batches. */
export const smallFrameBytesMax = 4096;

/** Whoever sends this does not speak the protocol. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/** Called for every whole frame; false: no more of them. `body` is a view of memory that is not written again. */
export type TakeFrame = (kind: number, body: Buffer) => boolean;

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  /** Longer bodies are refused. May be changed between two frames. */
  bytesMax: number;
  private readonly take: TakeFrame;
  /** A frame that did not come in one piece: all of it when its length is known, else what is there of the header. */
  private partial: Buffer | null = null;
  private partialBytes = 0;

  constructor(bytesMax: number, take: TakeFrame) {
    this.bytesMax = bytesMax;
    this.take = take;
  }

  /** Throws `FrameError`; the stream is of no use then. */
  push(chunk: Buffer): void {
    let rest = chunk;
    while (this.partial !== null) {
      const { partial } = this;
      const count = Math.min(rest.length, partial.length - this.partialBytes);
      rest.copy(partial, this.partialBytes, 0, count);
      this.partialBytes += count;
      if (this.partialBytes < partial.length) return;
      rest = rest.subarray(count);
      const isHeader = partial.length === frameHeaderBytes;
      const size = this.sizeAt(partial, 0);
      this.partial = null;
      if (isHeader && size > 0) this.begin(size, partial);
      else if (!this.take(partial[4], partial.subarray(frameHeaderBytes))) return;
    }
    this.cut(rest);
  }

  private cut(bytes: Buffer): void {
    let at = 0;
    while (bytes.length - at >= frameHeaderBytes) {
      const size = this.sizeAt(bytes, at);
      const start = at + frameHeaderBytes;
      if (bytes.length - start < size) {
        this.begin(size, bytes.subarray(at));
        return;
      }
      at = start + size;
      if (!this.take(bytes[start - 1], bytes.subarray(start, at))) return;
    }
    if (at < bytes.length) this.begin(0, bytes.subarray(at));
  }

  private begin(size: number, first: Buffer): void {
    this.partial = Buffer.allocUnsafe(frameHeaderBytes + size);
    this.partialBytes = first.copy(this.partial);
  }

  private sizeAt(bytes: Buffer, at: number): number {
    const size = bytes.readUInt32LE(at);
    if (size > this.bytesMax) throw new FrameError(`Cannot read a frame of ${size} bytes: ${this.bytesMax} are taken`);
    return size;
  }
}

export function encodeFrame(kind: number, body: Uint8Array): Buffer {
  const frame = frameOf(kind, body.length);
  frame.set(body, frameHeaderBytes);
  return frame;
}

/** One frame with all `messages`, which take `messagesSize` bytes. */
export function encodeBatchFrame(messages: readonly BatchMessage[], messagesSize: number): Buffer {
  const size = batchSize(messagesSize);
  const frame = frameOf(frameKinds.batch, size);
  encodeBatch(messages, frame, frameHeaderBytes, size);
  return frame;
}

function frameOf(kind: number, size: number): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + size);
  frame.writeUInt32LE(size, 0);
  frame[4] = kind;
  return frame;
}

/** Preface and hello. */
export function encodeOpening(hello: Hello): Buffer {
  return Buffer.concat([streamPreface, encodeFrame(frameKinds.hello, Hello.encode(hello).finish())]);
}

/** Null when the bytes are no hello. */
export function decodeHello(body: Uint8Array): Hello | null {
  try {
    return Hello.decode(body);
  } catch {
    // Whatever the reader of the generated code complains about: these bytes come from anybody.
    return null;
  }
}

export function encodeRefusal(failure: { readonly code: number; readonly details: string }): Buffer {
  const text = Buffer.from(failure.details, 'utf8').subarray(0, smallFrameBytesMax - 1);
  return encodeFrame(frameKinds.refused, Buffer.concat([Buffer.of(failure.code), text]));
}

export function decodeRefusal(body: Buffer): { readonly code: number; readonly details: string } {
  return { code: body[0] ?? 0, details: body.toString('utf8', 1) };
}

/** Opens a stream to `to`. */
export function helloOf(identity: PeerIdentity, to: ReplicaId): Hello {
  return {
    clusterId: identity.clusterId,
    fromReplica: identity.replica,
    toReplica: to,
    protocolVersion,
  };
}

/** Why `identity` does not want the stream, and whether the sender had better come back; null when it does. */
export function helloProblem(
  hello: Hello,
  identity: PeerIdentity,
): { readonly text: string; readonly canRetry: boolean } | null {
  if (hello.protocolVersion !== protocolVersion) {
    return refuse(`replica ${identity.replica} speaks version ${protocolVersion}, not ${hello.protocolVersion}`);
  }
  if (identity.clusterId === '') {
    return { text: `Cannot open the stream: replica ${identity.replica} is not part of a cluster yet`, canRetry: true };
  }
  if (hello.clusterId !== identity.clusterId) {
    return refuse(`replica ${identity.replica} is in cluster "${identity.clusterId}", not "${hello.clusterId}"`);
  }
  if (hello.toReplica !== identity.replica) {
    return refuse(`replica ${identity.replica} lives at this address, not ${hello.toReplica}`);
  }
  if (hello.fromReplica === 0 || hello.fromReplica === identity.replica) {
    return refuse(`the sender calls itself replica ${hello.fromReplica}`);
  }
  return null;
}

function refuse(text: string): { readonly text: string; readonly canRetry: boolean } {
  return { text: `Cannot open the stream: ${text}`, canRetry: false };
}
