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
import { encodeFrame, frameHeaderBytes, frameOf } from '../../rpc/frames.ts';
import { Hello } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { type BatchMessage, batchSize, encodeBatch, protocolVersion } from './message-codec.ts';
import type { PeerIdentity } from './peer-ports.ts';

/** How every stream begins: unlike HTTP/2, which has the same port. */
export const streamPreface = Buffer.from('RINGPEER', 'latin1');
/** The same in TLS (ALPN). */
export const streamProtocol = 'ringmq-peer';

export const frameKinds = { hello: 1, batch: 2, ping: 3, accepted: 16, refused: 17, pong: 18 } as const;

/** Of everything but batches. */
export const smallFrameBytesMax = 4096;

/** One frame with all `messages`, which take `messagesSize` bytes. */
export function encodeBatchFrame(messages: readonly BatchMessage[], messagesSize: number): Buffer {
  const size = batchSize(messagesSize);
  const frame = frameOf(frameKinds.batch, size);
  encodeBatch(messages, frame, frameHeaderBytes, size);
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
