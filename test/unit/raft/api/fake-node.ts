/**
 * A placement node in memory, for tests of how the API maps calls to the port: no log, no peers, no disk. Its store knows
 * keys, revisions, leases and watches as far as these tests need; everything else answers what the test put in.
 */
import {
  type Command,
  type CommandResult,
  type Compare,
  type GroupStatus,
  type KeyValue,
  type Operation,
  type OperationResult,
  PlacementError,
  type PlacementNode,
  type Query,
  type QueryResult,
  type RangeOperation,
  type RangeResult,
  type RequestId,
  type TransactionCommand,
  type WatchBatch,
  type WatchEvent,
  type Watcher,
  type WatchRequest,
} from '../../../../src/core/ports/placement.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class FakeNode implements PlacementNode {
  readonly executed: { command: Command; requestId: RequestId; timeoutMs: number }[] = [];
  readonly queried: Query[] = [];
  readonly changes: string[] = [];
  readonly watches = new Map<Watcher, WatchRequest>();
  /** Thrown by the next calls, one each. */
  readonly errors: PlacementError[] = [];
  /** Answered by the next commands instead of what the store says. */
  readonly answers: CommandResult[] = [];
  /** Calls wait here while it is set. */
  gate: Promise<void> | null = null;
  revision = 0;
  state: Mutable<GroupStatus>;
  private readonly items = new Map<string, KeyValue>();
  private readonly leases = new Map<number, number>();
  private readonly repeated = new Map<string, CommandResult>();

  constructor(leaderAddress = '127.0.0.1:1') {
    const member = { replica: '1', name: 'a', address: leaderAddress, role: 'voter', isLeader: true } as const;
    this.state = {
      clusterId: 'c1',
      replica: '1',
      leader: '1',
      role: 'leader',
      term: 3,
      commitIndex: 10,
      appliedIndex: 10,
      lastIndex: 11,
      firstIndex: 1,
      revision: 0,
      compactedRevision: 0,
      logBytes: 100,
      stateBytes: 200,
      members: [{ ...member, matchIndex: 10, isReachable: true }],
      fault: null,
    };
  }

  async execute(command: Command, { requestId, timeoutMs }: { requestId: RequestId; timeoutMs: number }) {
    this.executed.push({ command, requestId, timeoutMs });
    await this.pass();
    const answer = this.answers.shift();
    if (answer !== undefined) return answer;
    const id = requestId === null ? null : Buffer.from(requestId).toString('hex');
    const before = id === null ? undefined : this.repeated.get(id);
    if (before?.type === 'transaction') return { ...before, wasRepeated: true };
    const result = this.apply(command);
    if (id !== null) this.repeated.set(id, result);
    return result;
  }

  async query(query: Query): Promise<QueryResult> {
    this.queried.push(query);
    await this.pass();
    const { revision } = this;
    switch (query.type) {
      case 'range':
        return { ...this.range(query), revision };
      case 'leases':
      case 'lease': {
        const ids = query.type === 'lease' ? [query.lease] : [...this.leases.keys()];
        const leases = ids
          .filter((lease) => this.leases.has(lease))
          .map((lease) => ({ lease, epoch: 7, ttlMs: this.leases.get(lease) ?? 0, remainingMs: -1, keys: [] }));
        return { type: 'leases', leases, revision };
      }
      case 'nodes':
        return { type: 'nodes', nodes: [], revision };
      case 'partitions':
        return { type: 'partitions', partitions: [], revision };
    }
  }

  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    this.watches.set(watcher, request);
    return { cancel: () => void this.watches.delete(watcher) };
  }

  async emit(batch: WatchBatch): Promise<void> {
    await Promise.all([...this.watches.keys()].map((watcher) => watcher.onBatch(batch)));
  }

  async keepAlive(lease: number): Promise<CommandResult> {
    await this.pass();
    const ttlMs = this.leases.get(lease);
    if (ttlMs === undefined) return { type: 'refused', code: 'LEASE_NOT_FOUND', message: 'Cannot find the lease' };
    return { type: 'lease', lease, epoch: 7, ttlMs };
  }

  async heartbeat(node: string, epoch: number): Promise<CommandResult> {
    await this.pass();
    if (epoch < 5) return { type: 'refused', code: 'NODE_FENCED', message: 'Cannot extend: an old incarnation' };
    return { type: 'node', node, epoch };
  }

  status(): GroupStatus {
    return { ...this.state, revision: this.revision };
  }

  addLearner(member: { replica: string; name: string; address: string }): Promise<GroupStatus> {
    return this.change(`add ${member.replica} ${member.name} ${member.address}`);
  }

  promote(replica: string): Promise<GroupStatus> {
    return this.change(`promote ${replica}`);
  }

  remove(replica: string): Promise<GroupStatus> {
    return this.change(`remove ${replica}`);
  }

  transferLeadership(replica: string): Promise<GroupStatus> {
    return this.change(`transfer ${replica}`);
  }

  private async change(what: string): Promise<GroupStatus> {
    this.changes.push(what);
    await this.pass();
    return this.status();
  }

  private async pass(): Promise<void> {
    if (this.gate !== null) await this.gate;
    const error = this.errors.shift();
    if (error !== undefined) throw error;
  }

  private apply(command: Command): CommandResult {
    switch (command.type) {
      case 'transaction':
        return this.runTransaction(command);
      case 'compact':
        return { type: 'compact', revision: command.revision };
      case 'lease-grant':
        this.leases.set(command.lease, command.ttlMs);
        return { type: 'lease', lease: command.lease, epoch: 7, ttlMs: command.ttlMs };
      case 'lease-revoke':
        return this.leases.delete(command.lease)
          ? { type: 'done', revision: this.revision }
          : { type: 'refused', code: 'LEASE_NOT_FOUND', message: 'Cannot find the lease' };
      case 'node-register':
        return { type: 'node', node: command.node, epoch: 5 };
      case 'topic-create':
        return { type: 'topic', partitions: [] };
      default:
        return { type: 'done', revision: this.revision };
    }
  }

  private runTransaction({ compares, success, failure }: TransactionCommand): CommandResult {
    const succeeded = compares.every((each) => this.holds(each));
    const operations = succeeded ? success : failure;
    const isWrite = operations.some(({ type }) => type !== 'range');
    if (isWrite) this.revision++;
    const results = operations.map((each) => this.operate(each));
    return { type: 'transaction', revision: this.revision, succeeded, results, wasRepeated: false };
  }

  private holds({ key, target, relation, operand }: Compare): boolean {
    const item = this.items.get(toText(key));
    const fields = {
      value: item === undefined ? '' : toText(item.value),
      version: item?.version ?? 0,
      'create-revision': item?.createRevision ?? 0,
      'mod-revision': item?.modRevision ?? 0,
      lease: item?.lease ?? 0,
    };
    const actual = fields[target];
    const wanted = typeof operand === 'number' ? operand : toText(operand);
    if (relation === 'equal') return actual === wanted;
    if (relation === 'not-equal') return actual !== wanted;
    return relation === 'greater' ? actual > wanted : actual < wanted;
  }

  private operate(operation: Operation): OperationResult {
    if (operation.type === 'range') return this.range(operation);
    if (operation.type === 'set') {
      const { key, value, lease, returnPrevious } = operation;
      const before = this.items.get(toText(key)) ?? null;
      this.items.set(toText(key), {
        key: Buffer.from(key),
        value: Buffer.from(value),
        createRevision: before?.createRevision ?? this.revision,
        modRevision: this.revision,
        version: (before?.version ?? 0) + 1,
        lease,
      });
      return { type: 'set', previous: returnPrevious ? before : null };
    }
    const found = this.find(operation.key, operation.end);
    for (const { key } of found) this.items.delete(toText(key));
    return { type: 'delete', count: found.length, previous: operation.returnPrevious ? found : [] };
  }

  private range({ key, end, limit, isReverse, keysOnly, countOnly }: RangeOperation): RangeResult {
    const found = this.find(key, end);
    if (isReverse) found.reverse();
    const page = countOnly ? [] : found.slice(0, limit === 0 ? found.length : limit);
    const items = keysOnly ? page.map((item) => ({ ...item, value: new Uint8Array(0) })) : page;
    return { type: 'range', items, count: found.length, hasMore: !countOnly && page.length < found.length };
  }

  private find(key: Uint8Array, end: Uint8Array | null): KeyValue[] {
    const from = toText(key);
    const to = end === null ? null : toText(end);
    return [...this.items.values()]
      .filter((item) => {
        const text = toText(item.key);
        return to === null ? text === from : text >= from && (to === '' || text < to);
      })
      .sort((a, b) => Buffer.compare(a.key, b.key));
  }
}

function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

export function event(type: WatchEvent['type'], key: string, modRevision: number, value = 'v'): WatchEvent {
  const item = {
    key: Buffer.from(key),
    value: Buffer.from(value),
    createRevision: 1,
    modRevision,
    version: 1,
    lease: 0,
  };
  return { type, item, previous: null };
}

export { PlacementError };
