/**
 * The requests of the message stream as bytes. Batches are by far the most of all traffic between nodes, so they are
 * written straight into the frame that gRPC takes; what comes out is what the generated code would have made. Thread: the
 * Raft worker; used by both ends of the stream.
 */
import { type Hello, StreamMessagesRequest } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { ReplicaId } from '../consensus/types.ts';
import { type BatchMessage, batchSize, encodeBatch, protocolVersion } from './message-codec.ts';
import type { PeerIdentity } from './peer-ports.ts';

/** Field `batch` of StreamMessagesRequest, length-delimited. */
const batchTag = (2 << 3) | 2;

/** A StreamMessagesRequest with all `messages`, which take `messagesSize` bytes. */
export function encodeBatchFrame(messages: readonly BatchMessage[], messagesSize: number): Buffer {
  const size = batchSize(messagesSize);
  let lengthBytes = 1;
  for (let rest = size; rest >= 0x80; rest = Math.floor(rest / 0x80)) lengthBytes += 1;
  const frame = Buffer.allocUnsafe(1 + lengthBytes + size);
  frame[0] = batchTag;
  let at = 1;
  let rest = size;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) frame[at++] = (rest % 0x80) | 0x80;
  frame[at++] = rest;
  encodeBatch(messages, frame, at, size);
  return frame;
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

export function encodeHelloFrame(hello: Hello): Buffer {
  return StreamMessagesRequest.encode({ body: { $case: 'hello', value: hello } }).finish();
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
