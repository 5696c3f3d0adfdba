/**
 * The placement centre for any other thread of the process: writes and linearizable reads go to the Raft worker, reads
 * that may be a little old come straight from the store when there is a reader. Thread: whichever made it.
 *
 * What one client sees never goes back: the store is a little behind the Raft worker, so a read that would answer with less
 * than this client has seen already goes to the Raft worker as well.
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
import type { CallResult, ClientCall, ClientError, ClientToRaft, RaftToClient } from '../messages.ts';
import { PortBatch } from './port-batch.ts';

interface Waiting {
  resolve(result: CallResult): void;
  reject(error: Error): void;
}

interface TimeLimit {
  readonly timeoutMs: number;
}

/** Answers serializable queries on this thread. */
export interface LocalReader {
  query(query: Query): QueryResult;
  close(): void;
}

/** Called when serializable queries turn out not to be rare; until it has resolved, the Raft worker answers them. */
export type OpenReader = () => Promise<LocalReader>;

/** The store's library is worth some 20 ms and a few MB only to a thread that reads again and again: a start does not. */
const queriesBeforeReader = 8;

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
  private readonly requests: PortBatch<ClientToRaft>;
  /** Null when there is none, or none any more. */
  private openReader: OpenReader | null;
  private reader: LocalReader | null = null;
  /** Serializable ones that the Raft worker was left for want of a reader. */
  private queriesWithoutReader = 0;
  /** Newest revision that an answer has had. */
  private seenRevision = 0;
  private readonly calls = new Map<number, Waiting>();
  private readonly watchers = new Map<number, Watcher>();
  private nextId = 1;
  private latest: GroupStatus = unknownStatus;
  private isClosed = false;
  private isReaderUnwanted = false;
  private statusListener: (status: GroupStatus) => void = () => undefined;

  /** `port`: the other end is with the Raft worker. The thread stays alive for a call under way, not for the port. */
  constructor(port: MessagePort, openReader: OpenReader | null = null) {
    this.port = port;
    this.requests = new PortBatch(port);
    this.openReader = openReader;
    port.on('message', (messages: readonly RaftToClient[]) => {
      for (const message of messages) this.receive(message);
    });
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

  query(query: Query, { timeoutMs }: TimeLimit): Promise<QueryResult> {
    const local = query.consistency === 'serializable' ? this.readHere(query) : null;
    return local === null ? this.call({ type: 'query', query, timeoutMs }) : Promise.resolve(local);
  }

  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    const id = this.nextId++;
    if (this.isClosed) {
      queueMicrotask(() => watcher.onEnd({ code: 'STOPPED', compactedRevision: 0 }));
      return { cancel: () => undefined };
    }
    this.post({ type: 'watch', id, request });
    this.watchers.set(id, watcher);
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
    this.requests.flush();
    this.port.close();
    this.end();
  }

  /** Reads go to the Raft worker from now on: its files are about to be closed. */
  closeReader(): void {
    this.openReader = null;
    this.isReaderUnwanted = true;
    this.reader?.close();
    this.reader = null;
  }

  private end(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const error = new PlacementError('STOPPED', 'The placement centre of this node has stopped');
    for (const { reject } of this.calls.values()) reject(error);
    this.calls.clear();
    for (const watcher of this.watchers.values()) watcher.onEnd({ code: 'STOPPED', compactedRevision: 0 });
    this.watchers.clear();
    this.closeReader();
  }

  /** Null: the Raft worker has to answer. */
  private readHere(query: Query): QueryResult | null {
    // It alone knows what is left of a lease.
    if (query.type === 'lease' || query.type === 'leases') return null;
    if (this.reader === null) {
      this.queriesWithoutReader += 1;
      if (this.queriesWithoutReader > queriesBeforeReader) void this.loadReader();
      return null;
    }
    // Without a group, or out of service, it refuses.
    const { clusterId, fault, role } = this.latest;
    if (clusterId === '' || fault !== null || role === 'stopped') return null;
    let result: QueryResult;
    try {
      result = this.reader.query(query);
    } catch (error) {
      // The Raft worker finds the words for a wrong call; of what is damaged it has to know, and leaves service.
      if (!(error instanceof TypeError || error instanceof RangeError)) this.closeReader();
      return null;
    }
    if ('revision' in result && result.revision < this.seenRevision) return null;
    this.see(result);
    return result;
  }

  private async loadReader(): Promise<void> {
    const { openReader } = this;
    if (openReader === null) return;
    this.openReader = null;
    // Before anything is read: the store may be seconds behind while nobody reads it.
    this.post({ type: 'store-reader' });
    let reader: LocalReader;
    try {
      reader = await openReader();
    } catch {
      return; // The Raft worker answers everything then.
    }
    if (this.isClosed || this.isReaderUnwanted) reader.close();
    else this.reader = reader;
  }

  private see(result: CallResult): void {
    if ('revision' in result && result.revision > this.seenRevision) this.seenRevision = result.revision;
  }

  private call<T extends CallResult>(call: ClientCall): Promise<T> {
    if (this.isClosed) {
      return Promise.reject(new PlacementError('STOPPED', 'The placement centre of this node has stopped'));
    }
    const id = this.nextId++;
    return new Promise<T>((resolve, reject) => {
      // The Raft worker answers each call with the result of its kind.
      this.post({ type: 'call', id, call });
      this.calls.set(id, { resolve: resolve as (result: CallResult) => void, reject });
      if (this.calls.size === 1) this.port.ref();
    });
  }

  private post(message: ClientToRaft): void {
    this.requests.post(message);
  }

  private receive(message: RaftToClient): void {
    switch (message.type) {
      case 'result':
        this.see(message.result);
        this.take(message.id)?.resolve(message.result);
        break;
      case 'error':
        this.take(message.id)?.reject(errorOf(message.error));
        break;
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

function errorOf({ code, message, leaderAddress }: ClientError): Error {
  return code === 'WRONG_CALL' ? new TypeError(message) : new PlacementError(code, message, leaderAddress);
}
