/**
 * Streams the state of this replica to a follower, over a connection of its own so that heartbeats never wait behind it.
 * Thread: the Raft worker; used by `PeerTransport`.
 *
 * One chunk is read per turn of the event loop, and only while the receiver is less than the window behind: the memory
 * for a snapshot is one window, and the thread is held for one chunk at a time.
 */

import { type Client, type ClientDuplexStream, type StatusObject, status } from '@grpc/grpc-js';
import {
  type InstallSnapshotRequest,
  type InstallSnapshotResponse,
  PeerServiceService,
} from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import { toError } from '../../std/errors.ts';
import { failureText } from './peer-limits.ts';
import type { LinkEnvironment } from './peer-link.ts';
import type { SnapshotMessage, SnapshotSource } from './peer-ports.ts';
import { peerClient } from './peer-security.ts';
import { helloOf } from './stream-frames.ts';

type Call = ClientDuplexStream<InstallSnapshotRequest, InstallSnapshotResponse>;

/** Why it failed; null when the state is in place at the follower. */
export type SnapshotDone = (failure: string | null) => void;

export class SnapshotSender {
  readonly message: SnapshotMessage;
  private readonly environment: LinkEnvironment;
  private readonly source: SnapshotSource;
  private readonly done: SnapshotDone;
  private readonly onSourceError: (error: Error) => void;
  private readonly client: Client;
  private readonly call: Call;
  private isFinished = false;
  private isBusy = false;
  private isEndSent = false;
  private isInstalled = false;
  private chunks = 0;
  private sentBytes = 0;
  private takenBytes = 0;
  private stall: NodeJS.Timeout;

  /** `done` is called once, never inside of the constructor. The source is closed by the sender. */
  constructor(
    message: SnapshotMessage,
    address: string,
    source: SnapshotSource,
    environment: LinkEnvironment,
    callbacks: { readonly done: SnapshotDone; readonly onSourceError: (error: Error) => void },
  ) {
    this.message = message;
    this.environment = environment;
    this.source = source;
    this.done = callbacks.done;
    this.onSourceError = callbacks.onSourceError;
    this.client = peerClient(address, environment.tls, environment.limits);
    const { path, requestSerialize, responseDeserialize } = PeerServiceService.installSnapshot;
    this.call = this.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.call.on('data', (response: InstallSnapshotResponse) => this.onResponse(response));
    // The status comes with it and says the same; without a listener this event would end the process.
    this.call.on('error', () => undefined);
    this.call.on('status', (result: StatusObject) => this.onStatus(result));
    this.stall = this.limitTo(environment.limits.connectTimeoutMs);
    this.call.on('metadata', () => this.onAccepted());
    this.begin();
  }

  cancel(reason: string): void {
    this.finish(reason);
  }

  private begin(): void {
    const { message } = this;
    const { position } = this.source;
    const hello = helloOf(this.environment.identity(), message.to);
    this.call.write({ body: { $case: 'hello', value: hello } });
    const { index: positionIndex, term: positionTerm, membership } = position;
    const begin = { term: message.term, positionIndex, positionTerm, membership };
    this.write({ body: { $case: 'begin', value: begin } });
  }

  private pump(): void {
    if (this.isFinished || this.isBusy || this.isEndSent) return;
    if (this.sentBytes - this.takenBytes >= this.environment.limits.snapshotWindowBytes) return;
    const chunk = this.readChunk();
    if (this.isFinished) return;
    if (chunk === null) {
      this.isEndSent = true;
      this.call.write({ body: { $case: 'end', value: { chunks: this.chunks, bytes: this.sentBytes } } });
      this.call.end();
      return;
    }
    this.chunks += 1;
    this.sentBytes += chunk.length;
    this.environment.counters.snapshotBytesSent += chunk.length;
    this.write({ body: { $case: 'chunk', value: chunk } });
  }

  private readChunk(): Uint8Array | null {
    try {
      return this.source.next();
    } catch (error) {
      this.finish('the state cannot be read');
      this.onSourceError(toError(error));
      return null;
    }
  }

  private write(request: InstallSnapshotRequest): void {
    this.isBusy = true;
    this.call.write(request, () => {
      setImmediate(() => {
        this.isBusy = false;
        this.pump();
      });
    });
  }

  private onResponse(response: InstallSnapshotResponse): void {
    if (this.isFinished) return;
    this.stall.refresh();
    if (response.body?.$case === 'takenBytes') {
      this.takenBytes = response.body.value;
      this.pump();
    } else if (response.body?.$case === 'installed') {
      this.isInstalled = true;
    }
  }

  private onStatus(result: StatusObject): void {
    const isInstalled = result.code === status.OK && this.isInstalled;
    this.finish(isInstalled ? null : failureText(result) || 'the receiver ended the stream');
  }

  private onAccepted(): void {
    if (this.isFinished) return;
    clearTimeout(this.stall);
    this.stall = this.limitTo(this.environment.limits.snapshotStallMs);
  }

  /** Fails unless something comes from the receiver within the time. */
  private limitTo(timeMs: number): NodeJS.Timeout {
    return setTimeout(() => this.finish(`the receiver was silent for ${timeMs} ms`), timeMs);
  }

  private finish(failure: string | null): void {
    if (this.isFinished) return;
    this.isFinished = true;
    clearTimeout(this.stall);
    this.source.close();
    this.call.cancel();
    this.client.close();
    setImmediate(() => this.done(failure));
  }
}
