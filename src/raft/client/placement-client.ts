/**
 * The placement centre for any other thread of the process: writes and linearizable reads go to the Raft worker, reads
 * that may be a little old come straight from the store when a reader is given. Thread: whichever made it.
 */
import type { MessagePort } from 'node:worker_threads';
import {
  type Command,
  type CommandResult,
  type GroupStatus,
  type LeaseId,
  PlacementError,
  type PlacementNode,
  type Query,
  type QueryResult,
  type RequestId,
  type Watcher,
  type WatchRequest,
} from '../../core/ports/placement.ts';
import type { CallResult, ClientCall, ClientToRaft, RaftToClient } from '../messages.ts';

interface Waiting {
  resolve(result: CallResult): void;
  reject(error: PlacementError): void;
}

interface TimeLimit {
  readonly timeoutMs: number;
}

/** Answers serializable queries on this thread; null for those that it leaves to the Raft worker. */
export interface LocalReader {
  query(query: Query): QueryResult | null;
  close(): void;
}

const unknownStatus: GroupStatus = {
  clusterId: '',
  replica: '',
  leader: null,
  role: 'follower',
  term: 0,
  commitIndex: 0,
  appliedIndex: 0,
  lastIndex: 0,
  firstIndex: 0,
  revision: 0,
  compactedRevision: 0,
  logBytes: 0,
  stateBytes: 0,
  members: [],
  fault: null,
};

export class PlacementClient implements PlacementNode {
  private readonly port: MessagePort;
  private readonly reader: LocalReader | null;
  private readonly calls = new Map<number, Waiting>();
  private readonly watchers = new Map<number, Watcher>();
  private nextId = 1;
  private latest: GroupStatus = unknownStatus;
  private isClosed = false;
  private statusListener: (status: GroupStatus) => void = () => undefined;

  /** `port`: the other end is with the Raft worker. The thread stays alive for a call under way, not for the port. */
  constructor(port: MessagePort, reader: LocalReader | null = null) {
    this.port = port;
    this.reader = reader;
    port.on('message', (message: RaftToClient) => this.receive(message));
    port.on('close', () => this.end());
    port.unref();
  }

  /** Called for every status that the Raft worker sends, some of them equal. */
  onStatus(listener: (status: GroupStatus) => void): void {
    this.statusListener = listener;
  }

  execute(
    command: Command,
    { requestId, timeoutMs }: { readonly requestId: RequestId; readonly timeoutMs: number },
  ): Promise<CommandResult> {
    return this.call({ type: 'execute', command, requestId, timeoutMs });
  }

  async query(query: Query, { timeoutMs }: TimeLimit): Promise<QueryResult> {
    const local = query.consistency === 'serializable' ? (this.reader?.query(query) ?? null) : null;
    return local ?? this.call({ type: 'query', query, timeoutMs });
  }

  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    const id = this.nextId++;
    if (this.isClosed) {
      queueMicrotask(() => watcher.onEnd({ code: 'STOPPED', compactedRevision: 0 }));
      return { cancel: () => undefined };
    }
    this.watchers.set(id, watcher);
    this.post({ type: 'watch', id, request });
    return {
      cancel: () => {
        if (this.watchers.delete(id)) this.post({ type: 'watch-cancel', id });
      },
    };
  }

  keepAlive(lease: LeaseId, { timeoutMs }: TimeLimit): Promise<CommandResult> {
    return this.call({ type: 'keep-alive', lease, timeoutMs });
  }

  heartbeat(node: string, epoch: number, { timeoutMs }: TimeLimit): Promise<CommandResult> {
    return this.call({ type: 'heartbeat', node, epoch, timeoutMs });
  }

  /** As the Raft worker told it last; see `freshStatus`. */
  status(): GroupStatus {
    return this.latest;
  }

  /** As of now. */
  freshStatus(): Promise<GroupStatus> {
    return this.call({ type: 'status' });
  }

  addLearner(member: {
    readonly replica: string;
    readonly name: string;
    readonly address: string;
  }): Promise<GroupStatus> {
    return this.call({ type: 'add-learner', ...member });
  }

  promote(replica: string): Promise<GroupStatus> {
    return this.call({ type: 'promote', replica });
  }

  remove(replica: string): Promise<GroupStatus> {
    return this.call({ type: 'remove', replica });
  }

  transferLeadership(replica: string): Promise<GroupStatus> {
    return this.call({ type: 'transfer', replica });
  }

  /** Rejects what is under way. */
  close(): void {
    this.port.close();
    this.end();
  }

  private end(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const error = new PlacementError('STOPPED', 'The placement centre of this node has stopped');
    for (const { reject } of this.calls.values()) reject(error);
    this.calls.clear();
    for (const watcher of this.watchers.values()) watcher.onEnd({ code: 'STOPPED', compactedRevision: 0 });
    this.watchers.clear();
    this.reader?.close();
  }

  private call<T extends CallResult>(call: ClientCall): Promise<T> {
    if (this.isClosed) {
      return Promise.reject(new PlacementError('STOPPED', 'The placement centre of this node has stopped'));
    }
    const id = this.nextId++;
    return new Promise<T>((resolve, reject) => {
      // The Raft worker answers each call with the result of its kind.
      this.calls.set(id, { resolve: resolve as (result: CallResult) => void, reject });
      if (this.calls.size === 1) this.port.ref();
      this.post({ type: 'call', id, call });
    });
  }

  private post(message: ClientToRaft): void {
    this.port.postMessage(message);
  }

  private receive(message: RaftToClient): void {
    switch (message.type) {
      case 'result':
        this.take(message.id)?.resolve(message.result);
        break;
      case 'error': {
        const { code, message: text, leaderAddress } = message.error;
        this.take(message.id)?.reject(new PlacementError(code, text, leaderAddress));
        break;
      }
      case 'watch-batch':
        void this.deliver(message.id, message.batch);
        break;
      case 'watch-end': {
        const watcher = this.watchers.get(message.id);
        this.watchers.delete(message.id);
        watcher?.onEnd(message.reason);
        break;
      }
      case 'status':
        this.latest = message.status;
        this.statusListener(message.status);
    }
  }

  private take(id: number): Waiting | undefined {
    const waiting = this.calls.get(id);
    this.calls.delete(id);
    if (this.calls.size === 0) this.port.unref();
    return waiting;
  }

  private async deliver(id: number, batch: Parameters<Watcher['onBatch']>[0]): Promise<void> {
    await this.watchers.get(id)?.onBatch(batch);
    if (this.watchers.has(id)) this.post({ type: 'watch-taken', id });
  }
}
