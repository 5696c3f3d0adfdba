/**
 * Names and settings of partitions, checked the same way for every storage adapter. Pure; any thread.
 */

import type { StreamSettings } from '../ports/stream-store.ts';
import { StorageError } from './storage-error.ts';

export const defaultBatchBytesMax = 16 * 1024 * 1024;
/** The longest that a setting allows; a length is a signed 32-bit number, and it has to fit into memory a few times. */
const batchBytesLimit = 128 * 1024 * 1024;

/** @throws StorageError STORAGE_NAME_INVALID */
export function checkPartitionName(name: string): void {
  if (/^[A-Za-z0-9._-]{1,249}$/.test(name) && name !== '.' && name !== '..') return;
  throw new StorageError('STORAGE_NAME_INVALID', `Cannot name a partition ${JSON.stringify(name.slice(0, 300))}`);
}

/** What not every adapter can do. */
export interface SettingAbilities {
  /** Keeps only the newest record of a key when asked to. */
  readonly canCompact: boolean;
  /** Has a cold tier; or why not, for a message. */
  readonly tier: true | string;
}

const noAbilities: SettingAbilities = { canCompact: false, tier: 'this storage has no cold tier' };

/**
 * What was given, without what is not known.
 *
 * @throws StorageError STORAGE_SETTING_UNSUPPORTED
 */
export function checkStreamSettings(
  settings: StreamSettings,
  { canCompact, tier }: SettingAbilities = noAbilities,
): StreamSettings {
  const { retentionBytes, retentionMs, isCompacted, batchBytesMax, segmentBytes } = settings;
  const { isTiered, localRetentionBytes, localRetentionMs } = settings;
  checkNumber('retentionBytes', retentionBytes ?? undefined, Number.MAX_SAFE_INTEGER);
  checkNumber('retentionMs', retentionMs ?? undefined, Number.MAX_SAFE_INTEGER);
  checkNumber('batchBytesMax', batchBytesMax, batchBytesLimit);
  checkNumber('segmentBytes', segmentBytes, 2 ** 31 - 1);
  checkNumber('localRetentionBytes', localRetentionBytes ?? undefined, Number.MAX_SAFE_INTEGER);
  checkNumber('localRetentionMs', localRetentionMs ?? undefined, Number.MAX_SAFE_INTEGER);
  if (isTiered === true && tier !== true) throw unsupported('isTiered', tier);
  if (isTiered === true && isCompacted === true) throw unsupported('isTiered', compactedTier);
  if (isCompacted === true && !canCompact) throw unsupported('isCompacted', 'this storage does not compact');
  return {
    ...(retentionBytes === undefined ? {} : { retentionBytes }),
    ...(retentionMs === undefined ? {} : { retentionMs }),
    ...(isCompacted === undefined ? {} : { isCompacted }),
    ...(isTiered === undefined ? {} : { isTiered }),
    ...(localRetentionBytes === undefined ? {} : { localRetentionBytes }),
    ...(localRetentionMs === undefined ? {} : { localRetentionMs }),
    ...(batchBytesMax === undefined ? {} : { batchBytesMax }),
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  };
}

const compactedTier = 'a stream that is compacted is not tiered: what is in the tier is never written again';

function checkNumber(name: string, value: number | undefined, max: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value > 0 && value <= max)) return;
  throw unsupported(name, `${value} is not a whole number from 1 to ${max}`);
}

function unsupported(name: string, reason: string): StorageError {
  return new StorageError('STORAGE_SETTING_UNSUPPORTED', `Cannot keep a partition with "${name}": ${reason}`);
}

export function unknownPartition(name: string): StorageError {
  return new StorageError('STORAGE_PARTITION_UNKNOWN', `Cannot find partition "${name}": there is none of this name`);
}
