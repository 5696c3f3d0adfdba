/**
 * Typed records as commands and queries: whoever writes a record goes through here, so that it is checked against its
 * schema before it is replicated. (Replicas do not check it again: one with an older program could decide otherwise.)
 * Pure; any thread.
 */
import type {
  Compare,
  Consistency,
  DeleteOperation,
  KeyValue,
  LeaseId,
  Query,
  SetOperation,
  TransactionCommand,
} from '../../core/ports/placement.ts';
import { RecordInvalidError } from './errors.ts';
import { type KeyPart, prefixEnd } from './keys.ts';
import type { RecordKind } from './record-kind.ts';

export interface SetRecordOptions {
  /** The record goes when the lease ends; 0 for none. */
  readonly lease?: LeaseId;
  readonly returnPrevious?: boolean;
}

/** Throws `RecordInvalidError` when the record breaks its schema, or has commands of its own. */
export function setRecord<T>(kind: RecordKind<T>, record: T, options: SetRecordOptions = {}): SetOperation {
  refuseManaged(kind);
  const { lease = 0, returnPrevious = false } = options;
  return { type: 'set', key: kind.keyOf(record), value: kind.encode(record), lease, returnPrevious };
}

/** Deletes the record of a whole key, or with fewer parts all records whose keys begin with them. */
export function deleteRecords<T>(kind: RecordKind<T>, ...parts: readonly KeyPart[]): DeleteOperation {
  refuseManaged(kind);
  const key = kind.key(...parts);
  return {
    type: 'delete',
    key,
    end: parts.length === kind.keyShape.length ? null : prefixEnd(key),
    returnPrevious: false,
  };
}

/** One revision of several records; with compares it is done only if all of them hold. */
export function recordsCommand(
  operations: readonly (SetOperation | DeleteOperation)[],
  compares: readonly Compare[] = [],
): TransactionCommand {
  return { type: 'transaction', scope: 'records', compares, success: operations, failure: [] };
}

/** Holds when the record is as it was at `modRevision`; 0 for "is not there". */
export function recordUnchanged<T>(kind: RecordKind<T>, modRevision: number, ...parts: readonly KeyPart[]): Compare {
  return { key: kind.key(...parts), target: 'mod-revision', relation: 'equal', operand: modRevision };
}

/** For one record. */
export function recordQuery<T>(kind: RecordKind<T>, consistency: Consistency, ...parts: readonly KeyPart[]): Query {
  return query(kind.key(...parts), null, 0, consistency);
}

export interface ListRecordsOptions {
  readonly consistency: Consistency;
  /** Keys begin with these parts; none for all of the kind. */
  readonly parts?: readonly KeyPart[];
  /** 0: as many as the server gives at once. */
  readonly limit?: number;
  /** The last item of the page before. */
  readonly after?: KeyValue;
}

/** For a page of records, in the order of their keys. */
export function listRecordsQuery<T>(kind: RecordKind<T>, options: ListRecordsOptions): Query {
  const { consistency, parts = [], limit = 0, after } = options;
  const prefix = kind.key(...parts);
  const start = after === undefined ? prefix : Buffer.concat([after.key, Buffer.from([0])]);
  return query(start, prefixEnd(prefix), limit, consistency);
}

/** The records of an answer, older versions upgraded. Throws `MalformedError`. */
export function recordsOf<T>(kind: RecordKind<T>, items: readonly KeyValue[]): T[] {
  return items.map(({ value }) => kind.decode(value));
}

function query(key: Uint8Array, end: Uint8Array | null, limit: number, consistency: Consistency): Query {
  const shape = { isReverse: false, keysOnly: false, countOnly: false } as const;
  return { type: 'range', scope: 'records', key, end, limit, consistency, ...shape };
}

function refuseManaged({ name, isManaged }: Pick<RecordKind<unknown>, 'name' | 'isManaged'>): void {
  if (isManaged) throw new RecordInvalidError(`Records of the kind ${name} have commands of their own`);
}
