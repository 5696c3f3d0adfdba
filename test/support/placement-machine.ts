/** A placement state over a simulated store whose commits end when the test says so. For unit tests and model tests. */
import type {
  CommandResult,
  KeyValue,
  Operation,
  Query,
  QueryResult,
  RangeOperation,
  TransactionCommand,
} from '../../src/core/ports/placement.ts';
import { entryKinds } from '../../src/raft/consensus/types.ts';
import { encodeProposal, type GroupCommand } from '../../src/raft/placement/command-codec.ts';
import { PlacementState } from '../../src/raft/placement/placement-state.ts';
import type { Entry } from '../../src/raft/ports.ts';
import { SimulatedStore } from './simulated-store.ts';

export function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

export function textOf(value: Uint8Array): string {
  return Buffer.from(value).toString('latin1');
}

export function set(key: string, value: string, options: { lease?: number; returnPrevious?: boolean } = {}): Operation {
  const { lease = 0, returnPrevious = false } = options;
  return { type: 'set', key: bytes(key), value: bytes(value), lease, returnPrevious };
}

export function remove(key: string, end: string | null = null, returnPrevious = false): Operation {
  return { type: 'delete', key: bytes(key), end: end === null ? null : bytes(end), returnPrevious };
}

export function range(key: string, end: string | null = null, options: Partial<RangeOperation> = {}): RangeOperation {
  const shape = { limit: 0, isReverse: false, keysOnly: false, countOnly: false };
  return { type: 'range', key: bytes(key), end: end === null ? null : bytes(end), ...shape, ...options };
}

export function transaction(...success: readonly Operation[]): TransactionCommand {
  return { type: 'transaction', compares: [], success, failure: [] };
}

export function requestId(number: number): Uint8Array {
  const id = Buffer.alloc(16);
  id.writeDoubleBE(number, 8);
  return id;
}

/** An item in a form that is easy to compare: `key=value@create/mod/version` and the lease where there is one. */
export function show({ key, value, createRevision, modRevision, version, lease }: KeyValue): string {
  const suffix = lease === 0 ? '' : `~${lease}`;
  return `${textOf(key)}=${textOf(value)}@${createRevision}/${modRevision}/${version}${suffix}`;
}

export class PlacementMachine {
  readonly store: SimulatedStore;
  state: PlacementState;
  /** Every entry that was applied, for replaying. */
  readonly log: Entry[] = [];
  private readonly waiting: (() => void)[] = [];
  private readonly deferred: (() => void)[] = [];
  nowMs = 0;

  constructor() {
    this.store = new SimulatedStore({ schedule: (callback) => void this.waiting.push(callback) });
    this.state = this.open();
  }

  private open(): PlacementState {
    return PlacementState.open(this.store, {
      now: () => this.nowMs,
      defer: (callback) => void this.deferred.push(callback),
    });
  }

  /** Proposes and applies; answers the result. */
  run(command: GroupCommand, id: Uint8Array | null = null): CommandResult {
    const index = this.state.appliedIndex + 1;
    const data = encodeProposal({ origin: 7, sequence: index, requestId: id, command });
    const entry: Entry = { term: 1, index, kind: entryKinds.command, data };
    this.log.push(entry);
    return this.state.apply(entry)!.result;
  }

  /** Runs operations as one transaction. */
  write(...operations: readonly Operation[]): CommandResult {
    return this.run(transaction(...operations));
  }

  query(query: Query): QueryResult {
    return this.state.query(query);
  }

  /** The items of a range, shown. */
  items(key: string, end: string | null = null, options: Partial<RangeOperation> = {}): string[] {
    const result = this.query({ ...range(key, end, options), consistency: 'serializable' });
    return result.type === 'range' ? result.items.map(show) : [`refused: ${JSON.stringify(result)}`];
  }

  /** Ends the oldest commit that is under way; false when there is none. */
  finishCommit(): boolean {
    const callback = this.waiting.shift();
    callback?.();
    return callback !== undefined;
  }

  /** Flushes and waits until it is durable. */
  flush(): void {
    let failure: Error | null = null;
    let isDone = false;
    this.state.flush((error) => {
      failure = error;
      isDone = true;
    });
    while (!isDone && this.finishCommit());
    if (failure !== null) throw failure;
  }

  /** Runs what was deferred until there is nothing more; watchers are called from there. */
  runDeferred(): void {
    for (let callback = this.deferred.shift(); callback !== undefined; callback = this.deferred.shift()) callback();
  }

  /** Loses what is not durable and opens again. */
  crash(keepPending = false): void {
    this.store.crash(keepPending);
    this.waiting.length = 0;
    this.deferred.length = 0;
    this.state = this.open();
  }

  /** Applies from the log what is missing after a crash. */
  replay(): void {
    for (const entry of this.log.slice(this.state.appliedIndex)) this.state.apply(entry);
  }
}
