/**
 * Looks at a call before it joins others in a message: one that cannot be encoded, or is larger than servers take, would
 * break the stream for all of them. Pure; any thread; called by `pipeline.ts`.
 */
import type { Compare, Operation, PipelineCall } from '../generated/ringmq/placement/v1/kv.ts';
import { rpcStatus } from '../status.ts';
import { PlacementCallError } from './errors.ts';

type Request = NonNullable<PipelineCall['call']>;

/** Servers refuse far smaller ones by their own limits; this keeps the stream in one piece. */
const callBytesMax = 4 * 1024 * 1024;
const uint32Max = 0xffffffff;
/** Numbers, tags and lengths of one part of a call. */
const partBytes = 64;

/** About how long the call is when encoded. Throws `PlacementCallError`, with the field's name for a wrong number. */
export function checkCall(call: Request): number {
  const bytes = sizeOf(call);
  if (bytes <= callBytesMax) return bytes;
  const message = `Cannot call: it has about ${bytes} bytes, more than ${callBytesMax}`;
  throw new PlacementCallError('VALUE_TOO_LARGE', rpcStatus.INVALID_ARGUMENT, message, { field: 'value' });
}

function sizeOf(call: Request): number {
  switch (call.$case) {
    case 'set':
      checkNumber(call.value.lease, 'lease');
      return partBytes + call.value.key.length + call.value.value.length;
    case 'compareAndSet': {
      const { key, newValue, expected, lease } = call.value;
      checkNumber(lease, 'lease');
      if (expected?.$case === 'modRevision') checkNumber(expected.value, 'mod_revision');
      const expectedBytes = expected?.$case === 'value' ? expected.value.length : 0;
      return partBytes + key.length + newValue.length + expectedBytes;
    }
    case 'transaction': {
      const { compares, success, failure } = call.value;
      const sum = (sizes: number[]): number => sizes.reduce((total, size) => total + size, 0);
      return partBytes + sum(compares.map(compareBytes)) + sum([...success, ...failure].map(operationBytes));
    }
    case 'range':
      checkNumber(call.value.limit, 'limit', uint32Max);
      return partBytes + call.value.key.length + (call.value.end?.length ?? 0);
    case 'delete':
      return partBytes + call.value.key.length + (call.value.end?.length ?? 0);
    case 'compact':
      checkNumber(call.value.revision, 'revision');
      return partBytes;
    default:
      return partBytes + call.value.key.length;
  }
}

function compareBytes({ key, operand }: Compare): number {
  if (operand === undefined) return partBytes + key.length;
  if (operand.$case === 'value') return partBytes + key.length + operand.value.length;
  checkNumber(operand.value, 'operand');
  return partBytes + key.length;
}

function operationBytes({ operation }: Operation): number {
  if (operation?.$case === 'set') {
    checkNumber(operation.value.lease, 'lease');
    return partBytes + operation.value.key.length + operation.value.value.length;
  }
  if (operation?.$case === 'range') checkNumber(operation.value.limit, 'limit', uint32Max);
  return partBytes + (operation?.value.key.length ?? 0);
}

function checkNumber(value: number, field: string, max: number = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= 0 && value <= max) return;
  const message = `Cannot use field "${field}": ${value} is no whole number from 0 to ${max}`;
  throw new PlacementCallError('INVALID_ARGUMENT', rpcStatus.INVALID_ARGUMENT, message, { field });
}
