/** Transactions as users write them → messages. Pure; any thread; used by `PlacementClient`. */
import {
  Relation,
  type Compare as WireCompare,
  type Operation as WireOperation,
} from '../generated/ringmq/placement/v1/kv.ts';
import { type BytesLike, type KeyRange, toBytes, toRange } from './keys.ts';

/** `value`: bytes; the others: numbers, 0 for a key that is missing. */
export type Compare =
  | { readonly key: BytesLike; readonly value: BytesLike; readonly relation?: RelationName }
  | { readonly key: BytesLike; readonly version: number; readonly relation?: RelationName }
  | { readonly key: BytesLike; readonly createRevision: number; readonly relation?: RelationName }
  | { readonly key: BytesLike; readonly modRevision: number; readonly relation?: RelationName }
  | { readonly key: BytesLike; readonly lease: number; readonly relation?: RelationName };

/** The key's is <relation> the given one; 'equal' when it is left out. */
export type RelationName = 'equal' | 'not-equal' | 'greater' | 'less';

export type Operation =
  | {
      readonly set: BytesLike;
      readonly value: BytesLike;
      readonly lease?: number;
      readonly returnPrevious?: boolean;
    }
  | { readonly delete: KeyRange; readonly returnPrevious?: boolean }
  | { readonly range: KeyRange; readonly limit?: number; readonly isReverse?: boolean; readonly keysOnly?: boolean };

export interface Transaction {
  /** All must hold for `success` to run; otherwise `failure` does. */
  readonly compares?: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure?: readonly Operation[];
}

const relations: Readonly<Record<RelationName, Relation>> = {
  equal: Relation.EQUAL,
  'not-equal': Relation.NOT_EQUAL,
  greater: Relation.GREATER,
  less: Relation.LESS,
};

export function toWireCompare(compare: Compare): WireCompare {
  const base = { key: toBytes(compare.key), relation: relations[compare.relation ?? 'equal'] };
  if ('value' in compare) return { ...base, operand: { $case: 'value', value: toBytes(compare.value) } };
  if ('version' in compare) return { ...base, operand: { $case: 'version', value: compare.version } };
  if ('createRevision' in compare) {
    return { ...base, operand: { $case: 'createRevision', value: compare.createRevision } };
  }
  if ('modRevision' in compare) return { ...base, operand: { $case: 'modRevision', value: compare.modRevision } };
  return { ...base, operand: { $case: 'lease', value: compare.lease } };
}

export function toWireOperation(operation: Operation): WireOperation {
  if ('set' in operation) {
    const { set, value, lease = 0, returnPrevious = false } = operation;
    return { operation: { $case: 'set', value: { key: toBytes(set), value: toBytes(value), lease, returnPrevious } } };
  }
  if ('delete' in operation) {
    const { returnPrevious = false } = operation;
    return { operation: { $case: 'delete', value: { ...toRange(operation.delete), returnPrevious } } };
  }
  const { limit = 0, isReverse = false, keysOnly = false } = operation;
  const range = { ...toRange(operation.range), limit, isReverse, keysOnly, countOnly: false };
  return { operation: { $case: 'range', value: range } };
}
