/** What a client is told when a store or a service refused. Pure; any thread. */
import { DelayedError } from '../../../core/delayed/delayed-error.ts';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { ReasonCode } from '../codec/reason-code.ts';

/** Of what can be in PUBACK, PUBREC and SUBACK. */
export function reasonCodeOf(error: unknown): number {
  if (error instanceof DelayedError) {
    switch (error.code) {
      case 'DELAYED_FULL':
      case 'DELAYED_TOO_LARGE':
        return ReasonCode.QUOTA_EXCEEDED;
      case 'DELAYED_TOO_FAR':
      case 'DELAYED_INVALID':
        return ReasonCode.TOPIC_NAME_INVALID;
      case 'DELAYED_CLOSED':
        return ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR;
    }
  }
  if (error instanceof StorageError) {
    switch (error.code) {
      case 'STORAGE_DISK_FULL':
      case 'STORAGE_UNAVAILABLE':
        return ReasonCode.QUOTA_EXCEEDED;
      case 'STORAGE_BATCH_INVALID':
        return ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR;
      default:
        return ReasonCode.UNSPECIFIED_ERROR;
    }
  }
  return ReasonCode.UNSPECIFIED_ERROR;
}

/** It can succeed when it is tried again: a client that cannot be told why is not acknowledged. */
export function isTemporary(reasonCode: number): boolean {
  return reasonCode === ReasonCode.QUOTA_EXCEEDED || reasonCode === ReasonCode.UNSPECIFIED_ERROR;
}

export function isCodeOf(error: unknown, code: StorageError['code']): boolean {
  return error instanceof StorageError && error.code === code;
}
