/**
 * The client of the placement centre, for programs and for `ringmq ctl`. Any thread; made by `PlacementClient.create`,
 * exported by the library.
 *
 * Every call has a deadline. Calls that may run twice are tried again while there is time, at the leader or at the next
 * server: reads, and writes that carry a request id by which the store knows them again. What may not run twice (changes of
 * the membership, compaction) fails with the first error after which it may have happened.
 */
import type {
  CompactResponse,
  CompareAndSetRequest,
  CompareAndSetResponse,
  DeleteResponse,
  ExistsResponse,
  GetResponse,
  RangeResponse,
  SetResponse,
  TransactionResponse,
} from '../generated/ringmq/placement/v1/kv.ts';
import {
  MaintenanceServiceService,
  type MaintenanceStatusResponse,
} from '../generated/ringmq/placement/v1/maintenance.ts';
import { type BackupPart, readBackup } from './backup.ts';
import { type CallOptions, type ReadOptions, toConsistency } from './call-options.ts';
import { Caller } from './caller.ts';
import { Cluster } from './cluster.ts';
import { ConnectionPool } from './connection.ts';
import { Endpoints, parseEndpoints } from './endpoints.ts';
import { type BytesLike, firstKey, type KeyRange, noEnd, toBytes, toRange } from './keys.ts';
import { Leases } from './leases.ts';
import { Members } from './members.ts';
import { Pipeline } from './pipeline.ts';
import { nextRequestId } from './request-id.ts';
import type { ClientTls } from './server-security.ts';
import { type Transaction, toWireCompare, toWireOperation } from './transactions.ts';
import { type WatchProgress, watchFrom } from './watch.ts';

export interface ClientOptions {
  /** `host:port` of some members, as a list or separated by commas. */
  readonly servers: string | readonly string[];
  /** Null: plain text. */
  readonly tls?: ClientTls | null;
  /** Of calls that bring none of their own; 5,000 when left out. */
  readonly timeoutMs?: number;
  /** Send calls to the leader once its address is known; true when left out. Servers forward where it is not. */
  readonly followLeader?: boolean;
  /** Calls on keys without an answer; more are refused with `OVERLOADED`. 100,000 when left out. */
  readonly callsMax?: number;
}

export interface SetOptions extends CallOptions {
  /** The key goes when this lease ends. */
  readonly lease?: number;
  readonly returnPrevious?: boolean;
}

export interface RangeOptions extends ReadOptions {
  /** 0: the limit of the server. */
  readonly limit?: number;
  readonly isReverse?: boolean;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
}

export interface WatchOptions {
  /** First revision to report; without it, what comes after now. */
  readonly fromRevision?: number;
  readonly withPrevious?: boolean;
  /** Ends the watch. */
  readonly signal?: AbortSignal;
}

/** What must be there for a compare-and-set: a value, or the revision of the last write (0: the key must not exist). */
export type Expectation = { readonly value: BytesLike } | { readonly modRevision: number };

const defaultTimeoutMs = 5_000;
const defaultCallsMax = 100_000;

export class PlacementClient {
  readonly leases: Leases;
  readonly cluster: Cluster;
  readonly members: Members;
  private readonly caller: Caller;
  private readonly pipeline: Pipeline;
  private readonly timeoutMs: number;

  private constructor(pool: ConnectionPool, options: ClientOptions) {
    const endpoints = new Endpoints(parseEndpoints(options.servers), () => performance.now());
    const { timeoutMs = defaultTimeoutMs, followLeader = true, callsMax = defaultCallsMax } = options;
    this.timeoutMs = timeoutMs;
    this.caller = new Caller(pool, endpoints);
    this.pipeline = new Pipeline(pool.tls, endpoints, { followLeader, callsMax });
    this.leases = new Leases(this.caller, timeoutMs);
    this.cluster = new Cluster(this.caller, timeoutMs);
    this.members = new Members(this.caller, timeoutMs);
  }

  /** Loads the gRPC library; connects on the first call. Throws a `TypeError` for a wrong address. */
  static async create(options: ClientOptions): Promise<PlacementClient> {
    parseEndpoints(options.servers);
    return new PlacementClient(await ConnectionPool.create(options.tls ?? null), options);
  }

  set(key: BytesLike, value: BytesLike, options: SetOptions = {}): Promise<SetResponse> {
    const { lease = 0, returnPrevious = false, timeoutMs = this.timeoutMs } = options;
    const requestId = nextRequestId();
    const request = { key: toBytes(key), value: toBytes(value), lease, returnPrevious, requestId };
    return this.pipeline.send('set', request, timeoutMs, true);
  }

  /** `item` is undefined when the key does not exist. */
  get(key: BytesLike, { consistency, timeoutMs = this.timeoutMs }: ReadOptions = {}): Promise<GetResponse> {
    const request = { key: toBytes(key), consistency: toConsistency(consistency) };
    return this.pipeline.send('get', request, timeoutMs, true);
  }

  exists(key: BytesLike, { consistency, timeoutMs = this.timeoutMs }: ReadOptions = {}): Promise<ExistsResponse> {
    const request = { key: toBytes(key), consistency: toConsistency(consistency) };
    return this.pipeline.send('exists', request, timeoutMs, true);
  }

  /** Removes one key, or a range of them. */
  delete(
    keys: BytesLike | KeyRange,
    options: CallOptions & { readonly returnPrevious?: boolean } = {},
  ): Promise<DeleteResponse> {
    const { returnPrevious = false, timeoutMs = this.timeoutMs } = options;
    const range = typeof keys === 'string' || keys instanceof Uint8Array ? { key: keys } : keys;
    const request = { ...toRange(range), returnPrevious, requestId: nextRequestId() };
    return this.pipeline.send('delete', request, timeoutMs, true);
  }

  /** One page, in the order of keys. */
  range(keys: KeyRange, options: RangeOptions = {}): Promise<RangeResponse> {
    const { limit = 0, isReverse = false, keysOnly = false, countOnly = false } = options;
    const { consistency, timeoutMs = this.timeoutMs } = options;
    const request = { ...toRange(keys), limit, isReverse, keysOnly, countOnly };
    return this.pipeline.send('range', { ...request, consistency: toConsistency(consistency) }, timeoutMs, true);
  }

  transaction(
    transaction: Transaction,
    { timeoutMs = this.timeoutMs }: CallOptions = {},
  ): Promise<TransactionResponse> {
    const request = {
      compares: (transaction.compares ?? []).map(toWireCompare),
      success: transaction.success.map(toWireOperation),
      failure: (transaction.failure ?? []).map(toWireOperation),
      requestId: nextRequestId(),
    };
    return this.pipeline.send('transaction', request, timeoutMs, true);
  }

  /** `current` tells what was there instead when it did not succeed. */
  compareAndSet(
    key: BytesLike,
    expectation: Expectation,
    newValue: BytesLike,
    { lease = 0, timeoutMs = this.timeoutMs }: CallOptions & { readonly lease?: number } = {},
  ): Promise<CompareAndSetResponse> {
    const expected: CompareAndSetRequest['expected'] =
      'value' in expectation
        ? { $case: 'value', value: toBytes(expectation.value) }
        : { $case: 'modRevision', value: expectation.modRevision };
    const requestId = nextRequestId();
    const request = { key: toBytes(key), expected, newValue: toBytes(newValue), lease, requestId };
    return this.pipeline.send('compareAndSet', request, timeoutMs, true);
  }

  /** Forgets the history before `revision`. */
  compact(revision: number, { timeoutMs = this.timeoutMs }: CallOptions = {}): Promise<CompactResponse> {
    return this.pipeline.send('compact', { revision }, timeoutMs, false);
  }

  /**
   * What happens to keys, whole revisions at a time, each event once; goes on after lost connections. Ends with the reader
   * or with `signal`; throws `PlacementCallError`, with `COMPACTED` when the history that it needs is gone.
   */
  async *watch(keys: KeyRange, options: WatchOptions = {}): AsyncGenerator<WatchProgress, void> {
    const { key, end } = toRange(keys);
    const { fromRevision = 0, withPrevious = false, signal } = options;
    // "From now on" has to have a revision, or what happens during a reconnection would be missed.
    const first = fromRevision === 0 ? (await this.revision()) + 1 : fromRevision;
    yield* watchFrom(this.caller, { key, end, fromRevision: first, withPrevious }, signal);
  }

  /** Of the store, linearizable. */
  async revision(options: CallOptions = {}): Promise<number> {
    const { revision } = await this.range({ key: firstKey, end: noEnd }, { ...options, limit: 1, keysOnly: true });
    return revision;
  }

  /** Of the server that happens to be asked. */
  async status({ timeoutMs = this.timeoutMs }: CallOptions = {}): Promise<MaintenanceStatusResponse> {
    return this.caller.call(MaintenanceServiceService.status, {}, timeoutMs, true);
  }

  /** The whole state as of one moment: a header, then chunks, then the end, checked against its digest. */
  backup(options: CallOptions = {}): AsyncGenerator<BackupPart, void> {
    return readBackup(this.caller, options.timeoutMs ?? this.timeoutMs);
  }

  /** Ends all calls, watches, kept leases and connections; nothing is left. Calls without an answer reject with `CLOSED`. */
  close(): void {
    this.caller.close();
    this.leases.close();
    this.pipeline.close();
    this.caller.pool.close();
  }
}
