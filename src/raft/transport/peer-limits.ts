/** Sizes and times of node-to-node traffic, and how gRPC is set up for the part of it that uses it. Thread: the Raft worker. */
import type { ChannelOptions, ServiceError } from '@grpc/grpc-js';

export interface PeerLimits {
  /** Messages that wait for one peer, in bytes. Memory for slow peers: peers x (this + `inFlightBytesMax`). */
  readonly queueBytesMax: number;
  /** Bytes handed to the connection and not yet taken by the operating system. */
  readonly inFlightBytesMax: number;
  /** A frame holds as many messages as fit; one message alone may be larger. */
  readonly frameBytesMax: number;
  /** Chunk bytes that a snapshot's sender is ahead of what the receiver has taken in. */
  readonly snapshotWindowBytes: number;
  /** A snapshot that does not move for so long has failed. */
  readonly snapshotStallMs: number;
  readonly connectTimeoutMs: number;
  readonly backOffMinMs: number;
  readonly backOffMaxMs: number;
  /** A ping so often; a peer that owes an answer for `keepAliveTimeoutMs` is taken for dead. */
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
}

export const defaultPeerLimits: PeerLimits = {
  queueBytesMax: 16 * 1024 * 1024,
  inFlightBytesMax: 1024 * 1024,
  frameBytesMax: 1024 * 1024,
  snapshotWindowBytes: 1024 * 1024,
  snapshotStallMs: 60_000,
  connectTimeoutMs: 3_000,
  backOffMinMs: 100,
  backOffMaxMs: 2_000,
  keepAliveMs: 1_000,
  keepAliveTimeoutMs: 3_000,
};

/** The largest body of a frame in a stream of messages: holds an append with one entry of the largest size. */
export const streamFrameBytesMax = 16 * 1024 * 1024;

/** HTTP/2 starts with 64 KiB, which is the speed limit of a connection with a long round trip. */
export const flowControlWindowBytes = 4 * 1024 * 1024;

/** No single message may be larger: a frame, or an append with one entry of the largest size. */
const messageBytesMax = 64 * 1024 * 1024;

/** Of joining, asking and snapshots. */
export const peerChannelOptions: ChannelOptions = {
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.max_send_message_length': messageBytesMax,
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc-node.flow_control_window': flowControlWindowBytes,
  // Each link decides itself when to connect again, and a snapshot must not wait behind or before messages.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  // What is kept for a retry counts as sent, and the sender would not feel a slow peer.
  'grpc.enable_retries': 0,
  'grpc.per_rpc_retry_buffer_size': 0,
  // Nodes never talk through the proxy that the environment has for the web, and ask no name server for settings.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** What a failed call says, without the time that grpc-js adds to it: equal for equal failures. */
export function failureText(error: ServiceError | { readonly code: number; readonly details: string }): string {
  return error.details.replace(/ \(\d{4}-[^)]*Z\)/g, '').replace(/ Resolution note:.*$/, '');
}
