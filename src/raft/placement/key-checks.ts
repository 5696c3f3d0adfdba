/** Which keys may be read and written in which scope. Pure; any thread. */
import type { Bytes, KeyScope } from '../../core/ports/placement.ts';
import { RECORD_SCOPE } from './keys.ts';
import { limits } from './limits.ts';
import { isManagedTag } from './records/registry.ts';
import { type Refusal, refuse } from './refusal.ts';

/** For reading one key, or with `end` a range; null when it is allowed. */
export function checkRead(key: Bytes, end: Bytes | null, scope: KeyScope | undefined): Refusal | null {
  // The bounds of a page may be "just after" a key, which is one byte more.
  const refusal = checkKey(key, scope, end === null ? 0 : 1);
  if (refusal !== null || end === null) return refusal;
  if (end.length > bytesMaxOf(scope) + 1) return tooLarge(end, scope);
  return scope === 'records' && !isInRecords(end) ? refuse('RESERVED_KEY', 'The range leaves the records') : null;
}

/** For setting one key or deleting [key, end). */
export function checkWrite(key: Bytes, end: Bytes | null, scope: KeyScope | undefined): Refusal | null {
  const refusal = checkRead(key, end, scope);
  if (refusal !== null || scope !== 'records') return refusal;
  if (key.length < 2) return refuse('RESERVED_KEY', 'The key has no kind of record');
  if (isManagedTag(key[1])) return refuse('RESERVED_KEY', 'Records of this kind have commands of their own');
  if (end !== null && !isOfKind(end, key[1])) return refuse('RESERVED_KEY', 'The range leaves its kind of record');
  return null;
}

function checkKey(key: Bytes, scope: KeyScope | undefined, extraBytes: number): Refusal | null {
  if (key.length === 0) return refuse('EMPTY_KEY', 'The key is empty');
  const isRecord = key[0] === RECORD_SCOPE;
  if (scope === 'records') {
    if (!isRecord) return refuse('RESERVED_KEY', 'The key is not one of a record');
  } else if (isRecord) {
    return refuse('RESERVED_KEY', 'Keys that begin with a zero byte are not for users');
  }
  return key.length > bytesMaxOf(scope) + extraBytes ? tooLarge(key, scope) : null;
}

function bytesMaxOf(scope: KeyScope | undefined): number {
  return scope === 'records' ? limits.recordKeyBytesMax : limits.keyBytesMax;
}

function tooLarge(key: Bytes, scope: KeyScope | undefined): Refusal {
  return refuse('KEY_TOO_LARGE', `The key has ${key.length} bytes, more than ${bytesMaxOf(scope)}`);
}

/** Records end before the key 0x01. */
function isInRecords(end: Bytes): boolean {
  return end.length > 0 && (end[0] === RECORD_SCOPE || (end.length === 1 && end[0] === RECORD_SCOPE + 1));
}

function isOfKind(end: Bytes, tag: number): boolean {
  return end.length >= 2 && (end[1] === tag || (end.length === 2 && end[1] === tag + 1));
}
