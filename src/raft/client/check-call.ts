/**
 * Looks at what came through a client's port before the replica sees it: a call of the wrong shape, possible from programs
 * without types, would count as a defect of the replica and end its service. Commands are not looked at: their encoding
 * does. Thread: the Raft worker; used by `client-server.ts`.
 */
import type { Query, WatchRequest } from '../../core/ports/placement.ts';
import type { ClientCall } from '../messages.ts';

/** Throws a `TypeError` that names the field. */
export function checkCall(call: ClientCall): void {
  if ('timeoutMs' in call && !(call.timeoutMs >= 0)) throw wrong('timeoutMs', 'a number from 0 on');
  if (call.type === 'query') checkQuery(call.query);
  else if (call.type === 'keep-alive') checkNumber(call.lease, 'lease');
  else if (call.type === 'heartbeat') {
    checkText(call.node, 'node');
    checkNumber(call.epoch, 'epoch');
  }
}

/** Throws a `TypeError` that names the field. */
export function checkWatch({ key, end, fromRevision }: WatchRequest): void {
  checkSpan(key, end);
  checkNumber(fromRevision, 'fromRevision');
}

function checkQuery(query: Query): void {
  switch (query.type) {
    case 'range':
      checkSpan(query.key, query.end);
      break;
    case 'lease':
      checkNumber(query.lease, 'lease');
      break;
    case 'partitions':
      checkText(query.tenant, 'tenant');
      checkText(query.topic, 'topic');
      break;
    case 'leases':
    case 'nodes':
      break;
    default:
      throw wrong('type', 'a kind of query');
  }
}

function checkSpan(key: unknown, end: unknown): void {
  if (!(key instanceof Uint8Array)) throw wrong('key', 'a Uint8Array');
  if (end !== null && !(end instanceof Uint8Array)) throw wrong('end', 'a Uint8Array or null');
}

function checkNumber(value: unknown, field: string): void {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw wrong(field, 'a whole number from 0 on');
}

function checkText(value: unknown, field: string): void {
  if (typeof value !== 'string') throw wrong(field, 'a text');
}

function wrong(field: string, expected: string): TypeError {
  return new TypeError(`Cannot use field "${field}": it is not ${expected}`);
}
