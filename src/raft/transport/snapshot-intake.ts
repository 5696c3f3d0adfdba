/**
 * The receiving end of a snapshot: checks what comes in which order, lets the state machine take the chunks one after the
 * other, and says how far it is. Thread: the Raft worker; used by the peer service.
 */
import { Metadata, type ServerDuplexStream, status } from '@grpc/grpc-js';
import type {
  Hello,
  InstallSnapshotRequest,
  InstallSnapshotResponse,
  SnapshotBegin,
} from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { CallFailure, InboundGuard } from './inbound-guard.ts';
import type { PeerHandlers, SnapshotMessage, SnapshotReceiver, TransportCounters } from './peer-ports.ts';

export type SnapshotCall = ServerDuplexStream<InstallSnapshotRequest, InstallSnapshotResponse>;

export interface IntakeEnvironment {
  readonly guard: InboundGuard;
  readonly handlers: PeerHandlers;
  readonly counters: TransportCounters;
  /** A hello was accepted. */
  onAccepted(intake: SnapshotIntake): void;
  onEnded(intake: SnapshotIntake, failure: string | null): void;
}

export class SnapshotIntake {
  private readonly call: SnapshotCall;
  private readonly environment: IntakeEnvironment;
  private hello: Hello | null = null;
  private receiver: SnapshotReceiver | null = null;
  private isEnding = false;
  private isOver = false;
  private chunks = 0;
  private takenBytes = 0;

  constructor(call: SnapshotCall, environment: IntakeEnvironment) {
    this.call = call;
    this.environment = environment;
    call.on('data', (request: InstallSnapshotRequest) => this.onRequest(request));
    call.on('end', () => {
      if (!this.isEnding) this.fail(status.CANCELLED, 'Cannot install the snapshot: the stream ended early');
    });
    call.on('cancelled', () => this.fail(status.CANCELLED, 'Cannot install the snapshot: the sender cancelled it'));
    call.on('error', () => this.fail(status.CANCELLED, 'Cannot install the snapshot: the connection broke'));
  }

  /** Gives up what was received so far. */
  fail(code: status, details: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.receiver?.abort();
    this.call.emit('error', { code, details } satisfies CallFailure);
    // What is still on its way is read and thrown away, or the stream would never end.
    this.call.resume();
    this.environment.onEnded(this, details);
  }

  private onRequest({ body }: InstallSnapshotRequest): void {
    if (this.isOver) return;
    if (this.hello === null) this.onHello(body?.$case === 'hello' ? body.value : null);
    else if (this.receiver === null) this.onBegin(body?.$case === 'begin' ? body.value : null);
    else if (body?.$case === 'chunk' && !this.isEnding) this.onChunk(this.receiver, body.value);
    else if (body?.$case === 'end' && !this.isEnding) this.onEnd(this.receiver, body.value);
    else this.fail(status.INVALID_ARGUMENT, 'Cannot install the snapshot: something else than a chunk came');
  }

  private onHello(hello: Hello | null): void {
    const problem = this.environment.guard.helloProblem(this.call, hello);
    if (problem !== null || hello === null) {
      this.fail(problem?.code ?? status.INVALID_ARGUMENT, problem?.details ?? '');
      return;
    }
    this.hello = hello;
    this.environment.onAccepted(this);
    this.call.sendMetadata(new Metadata());
  }

  private onBegin(begin: SnapshotBegin | null): void {
    const { hello } = this;
    if (begin?.membership === undefined || hello === null) {
      this.fail(status.INVALID_ARGUMENT, 'Cannot install the snapshot: it has no position');
      return;
    }
    const message: SnapshotMessage = {
      type: 'snapshot',
      from: hello.fromReplica,
      to: hello.toReplica,
      term: begin.term,
      position: { index: begin.positionIndex, term: begin.positionTerm, membership: begin.membership },
    };
    try {
      this.receiver = this.environment.handlers.beginInstall(message);
    } catch (error) {
      this.fail(status.ABORTED, textOf(error));
    }
  }

  private onChunk(receiver: SnapshotReceiver, chunk: Uint8Array): void {
    this.call.pause();
    this.chunks += 1;
    try {
      receiver.write(chunk, (error) => {
        if (this.isOver) return;
        if (error !== null) this.fail(status.ABORTED, textOf(error));
        else this.onTaken(chunk.length);
      });
    } catch (error) {
      this.fail(status.ABORTED, textOf(error));
    }
  }

  private onTaken(size: number): void {
    this.takenBytes += size;
    this.environment.counters.snapshotBytesReceived += size;
    this.call.write({ body: { $case: 'takenBytes', value: this.takenBytes } });
    this.call.resume();
  }

  private onEnd(receiver: SnapshotReceiver, end: { readonly chunks: number; readonly bytes: number }): void {
    this.isEnding = true;
    if (end.chunks !== this.chunks || end.bytes !== this.takenBytes) {
      this.fail(status.DATA_LOSS, `Cannot install the snapshot: ${this.chunks} of ${end.chunks} chunks came`);
      return;
    }
    try {
      receiver.finish((error) => {
        if (this.isOver) return;
        if (error !== null) this.fail(status.ABORTED, textOf(error));
        else this.succeed();
      });
    } catch (error) {
      this.fail(status.ABORTED, textOf(error));
    }
  }

  private succeed(): void {
    this.isOver = true;
    this.call.write({ body: { $case: 'installed', value: {} } });
    this.call.end();
    this.environment.onEnded(this, null);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
