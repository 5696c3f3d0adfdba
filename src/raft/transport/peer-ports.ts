/**
 * What node-to-node traffic needs from the node around it, and what it says of itself. Thread: the Raft worker; implemented
 * by whoever puts the node together.
 */
import type { ReplicaId, SnapshotPosition } from '../consensus/types.ts';
import type { Bytes, Done, Message } from '../ports.ts';

export type SnapshotMessage = Message & { readonly type: 'snapshot' };

/** Who this node is at the moment. */
export interface PeerIdentity {
  /** '' while the node is not part of a cluster; it takes no streams then. */
  readonly clusterId: string;
  readonly replica: ReplicaId;
  readonly name: string;
}

/** A state being read out for a follower. */
export interface SnapshotSource {
  /** Not before the position that was asked for. */
  readonly position: SnapshotPosition;
  /** At most 256 KiB, with a checksum inside; null after the last. May throw: the state is damaged. */
  next(): Bytes | null;
  close(): void;
}

/** A state being taken in. Either `finish` or `abort` is the last call, and `abort` may come before `finish` is done. */
export interface SnapshotReceiver {
  /** May throw for a damaged chunk. `done`: ready for more; the sender is held back until then. Keeps no view of `chunk`. */
  write(chunk: Bytes, done: Done): void;
  /** Puts the state in place and has the replica step the message that `beginInstall` got; `done` after that. */
  finish(done: Done): void;
  abort(): void;
}

export interface JoinApplication {
  readonly replica: ReplicaId;
  readonly name: string;
  /** `host:port` of node-to-node traffic. */
  readonly address: string;
  /** '' unless it was a member before. */
  readonly clusterId: string;
  /** It gets no vote before an operator gives it one. */
  readonly staysLearner: boolean;
}

export interface PeerMember {
  readonly replica: ReplicaId;
  readonly name: string;
  readonly address: string;
  readonly isLearner: boolean;
}

export type JoinAnswer =
  /** Committed: the leader sends the log from now on. */
  | { readonly type: 'added'; readonly clusterId: string; readonly members: readonly PeerMember[] }
  /** `leaderAddress` is '' while nobody leads. */
  | { readonly type: 'not-leader'; readonly leaderAddress: string }
  | { readonly type: 'unfounded' }
  | { readonly type: 'refused'; readonly reason: string };

/** Answers to what other nodes send. */
export interface PeerHandlers {
  /** All messages of one batch, in the order in which they were sent. Their bytes belong to the callee. */
  onMessages(messages: readonly Message[]): void;
  /** Takes in the state of the sender. Throws when it is not wanted; the sender gets the text. */
  beginInstall(message: SnapshotMessage): SnapshotReceiver;
  /** The join token was compared before. Rejects when it cannot be said now; the applicant tries again. */
  join(application: JoinApplication): Promise<JoinAnswer>;
}

/** Contents of PEM files. With it, both ends of every connection prove themselves with a certificate of this authority. */
export interface PeerTls {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** Name that the certificates of all peers have beside their own; null: each has the host name that it is reached by. */
  readonly serverName: string | null;
}

/** Grow only; read by the metrics. Frames are batches of messages. */
export interface TransportCounters {
  messagesSent: number;
  framesSent: number;
  bytesSent: number;
  messagesReceived: number;
  framesReceived: number;
  bytesReceived: number;
  /** Messages for a replica without an address. */
  droppedUnknownPeer: number;
  /** Messages for a peer that cannot be reached at the moment. */
  droppedUnreachable: number;
  /** Messages for a peer that is too slow. */
  droppedOverflow: number;
  connectionsOpened: number;
  connectionsFailed: number;
  /** Connections that this node did not want, of replicas or clusters that it does not know. */
  hellosRefused: number;
  framesDamaged: number;
  snapshotsSent: number;
  snapshotsFailed: number;
  snapshotsReceived: number;
  snapshotsRefused: number;
  snapshotBytesSent: number;
  snapshotBytesReceived: number;
  joinsRefused: number;
}

export function newTransportCounters(): TransportCounters {
  return {
    messagesSent: 0,
    framesSent: 0,
    bytesSent: 0,
    messagesReceived: 0,
    framesReceived: 0,
    bytesReceived: 0,
    droppedUnknownPeer: 0,
    droppedUnreachable: 0,
    droppedOverflow: 0,
    connectionsOpened: 0,
    connectionsFailed: 0,
    hellosRefused: 0,
    framesDamaged: 0,
    snapshotsSent: 0,
    snapshotsFailed: 0,
    snapshotsReceived: 0,
    snapshotsRefused: 0,
    snapshotBytesSent: 0,
    snapshotBytesReceived: 0,
    joinsRefused: 0,
  };
}
