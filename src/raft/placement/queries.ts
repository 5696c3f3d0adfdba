/**
 * Reads of the state: of the Raft worker with what is applied, of other threads with what is committed to the store.
 * They only look, and hold the thread for a bounded time.
 */
import type {
  Bytes,
  KeyValue,
  LeaseInfo,
  NodeRecord,
  PartitionRecord,
  Query,
  QueryResult,
  RangeOperation,
  RangeResult,
  Revision,
} from '../../core/ports/placement.ts';
import { latin1Of, readUint53, uint53Key } from './bytes.ts';
import { RecordInvalidError } from './errors.ts';
import { checkRead } from './key-checks.ts';
import { prefixEnd } from './keys.ts';
import { keyOfLeaseRow, type LeaseRow, leaseKeySpan } from './lease-rows.ts';
import { limits } from './limits.ts';
import { nodeKind } from './records/node.ts';
import { partitionKind } from './records/partition.ts';
import { topicKind } from './records/topic.ts';
import { type Refusal, refuse } from './refusal.ts';
import type { StateTables } from './state-core.ts';
import type { StateTable } from './state-table.ts';

const noBytes: Bytes = new Uint8Array(0);

/** As of `revision`, which is that of the tables. Throws `CorruptionError`. */
export function answer(query: Query, tables: StateTables, revision: Revision): QueryResult {
  switch (query.type) {
    case 'range': {
      const refusal = checkRead(query.key, query.end, query.scope) ?? checkLimit(query.limit);
      return refusal ?? { ...readRange(tables.records, query, limits.rangeBytesMax), revision };
    }
    case 'leases':
      return { type: 'leases', leases: listLeases(tables), revision };
    case 'lease': {
      const row = tables.leases.get(uint53Key(query.lease));
      if (row === null) return refuse('LEASE_NOT_FOUND', `There is no lease ${query.lease}`);
      return { type: 'leases', leases: [leaseInfo(query.lease, row, keysOfLease(tables, query.lease))], revision };
    }
    case 'nodes':
      return { type: 'nodes', nodes: listNodes(tables.records), revision };
    case 'partitions':
      return answerPartitions(query.tenant, query.topic, tables, revision);
  }
}

/** In a transaction its encoding takes no other numbers; a query is not encoded. */
function checkLimit(limit: number): Refusal | null {
  return Number.isSafeInteger(limit) && limit >= 0 ? null : refuse('INVALID_ARGUMENT', `A limit cannot be ${limit}`);
}

/** Items of one key or a range; stops after `bytesMax` of them, but gives one at least. Keys were checked. */
export function readRange(records: StateTable<KeyValue>, operation: RangeOperation, bytesMax: number): RangeResult {
  const { key, end, isReverse, keysOnly, countOnly } = operation;
  if (end === null) return readOne(records.get(key), operation);
  const upTo = end.length === 0 ? null : end;
  if (upTo !== null && latin1Of(key) >= latin1Of(upTo)) return { type: 'range', items: [], count: 0, hasMore: false };
  if (countOnly) return { type: 'range', items: [], count: records.count(key, upTo), hasMore: false };
  const limit = Math.min(operation.limit === 0 ? limits.rangeItemsMax : operation.limit, limits.rangeItemsMax);
  const items: KeyValue[] = [];
  let bytes = 0;
  let hasMore = false;
  records.scan(key, upTo, isReverse, limit + 1, ({ value: item }) => {
    if (items.length === limit || (bytes >= bytesMax && items.length > 0)) {
      hasMore = true;
      return false;
    }
    items.push(keysOnly ? { ...item, value: noBytes } : item);
    bytes += item.key.length + (keysOnly ? 0 : item.value.length);
    return true;
  });
  return { type: 'range', items, count: hasMore ? -1 : items.length, hasMore };
}

function readOne(item: KeyValue | null, { keysOnly, countOnly }: RangeOperation): RangeResult {
  if (item === null) return { type: 'range', items: [], count: 0, hasMore: false };
  if (countOnly) return { type: 'range', items: [], count: 1, hasMore: false };
  return { type: 'range', items: [keysOnly ? { ...item, value: noBytes } : item], count: 1, hasMore: false };
}

/** All leases, without their keys. */
function listLeases(tables: StateTables): LeaseInfo[] {
  const leases: LeaseInfo[] = [];
  tables.leases.scan(noBytes, null, false, 100, ({ key, value }) => {
    leases.push(leaseInfo(readUint53(key, 0), value, []));
    return true;
  });
  return leases;
}

function leaseInfo(lease: number, { epoch, ttlMs }: LeaseRow, keys: readonly Bytes[]): LeaseInfo {
  return { lease, epoch, ttlMs, remainingMs: -1, keys };
}

/** Keys that are attached to a lease, in order. */
export function keysOfLease(tables: StateTables, lease: number): Bytes[] {
  const keys: Bytes[] = [];
  tables.leaseKeys.scan(...leaseKeySpan(lease), false, 100, ({ key }) => {
    keys.push(keyOfLeaseRow(key));
    return true;
  });
  return keys;
}

function listNodes(records: StateTable<KeyValue>): NodeRecord[] {
  const nodes: NodeRecord[] = [];
  const prefix = nodeKind.key();
  records.scan(prefix, prefixEnd(prefix), false, 100, ({ value }) => {
    nodes.push(nodeKind.decode(value.value));
    return true;
  });
  return nodes;
}

function answerPartitions(tenant: string, topic: string, tables: StateTables, revision: Revision): QueryResult {
  try {
    if (tables.records.get(topicKind.key(tenant, topic)) === null) {
      return refuse('TOPIC_NOT_FOUND', `There is no topic "${topic}" of the tenant "${tenant}"`);
    }
  } catch (error) {
    if (error instanceof RecordInvalidError) return refuse('INVALID_ARGUMENT', error.message);
    throw error;
  }
  return { type: 'partitions', partitions: partitionsOf(tables.records, tenant, topic), revision };
}

/** In the order of their numbers; none when the topic does not exist. */
export function partitionsOf(records: StateTable<KeyValue>, tenant: string, topic: string): PartitionRecord[] {
  const prefix = partitionKind.key(tenant, topic);
  const rows = records.range(prefix, prefixEnd(prefix), limits.partitionsMax);
  return rows.map(({ value }) => partitionKind.decode(value.value));
}
