/**
 * Checks of request fields that need no state. Each throws a `CallFailure` that names the field as the proto file does.
 * Pure; thread: the Raft worker; called by the services before anything reaches the node.
 */
import type { Consistency, RequestId } from '../../core/ports/placement.ts';
import { Consistency as WireConsistency } from '../../rpc/generated/ringmq/placement/v1/common.ts';
import { invalidField } from './failure.ts';

const requestIdBytes = 16;

export function requireKey(key: Uint8Array, field = 'key'): Uint8Array {
  if (key.length === 0) throw invalidField(field, 'it is empty', 'EMPTY_KEY');
  return key;
}

export function requireText(text: string, field: string): string {
  if (text === '') throw invalidField(field, 'it is empty');
  return text;
}

export function requirePositive(value: number, field: string): number {
  if (value === 0) throw invalidField(field, 'expected at least 1');
  return value;
}

/** Replica ids travel as decimal text; 1 to 2^53 - 1. */
export function requireReplica(text: string, field = 'replica'): string {
  if (!/^[1-9]\d{0,15}$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw invalidField(field, 'expected a decimal number from 1 to 9007199254740991');
  }
  return text;
}

export function requireAddress(text: string, field: string): string {
  const match = /^(?:\[[0-9a-fA-F:.%]+\]|[^:[\]\s]+):(\d{1,5})$/.exec(text);
  const port = Number(match?.[1]);
  if (match === null || port === 0 || port > 65_535) throw invalidField(field, 'expected host:port');
  return text;
}

/** Empty: none. */
export function readRequestId(bytes: Uint8Array): RequestId {
  if (bytes.length === 0) return null;
  if (bytes.length !== requestIdBytes) throw invalidField('request_id', `expected ${requestIdBytes} bytes`);
  return bytes;
}

export function readConsistency(value: WireConsistency): Consistency {
  switch (value) {
    case WireConsistency.UNSPECIFIED:
    case WireConsistency.LINEARIZABLE:
      return 'linearizable';
    case WireConsistency.SERIALIZABLE:
      return 'serializable';
    default:
      // A number that this version does not know: to guess could give a read that is older than asked for.
      throw invalidField('consistency', 'unknown value');
  }
}
