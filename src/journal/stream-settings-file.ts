/**
 * What a stream store adds to the folder of a partition: file `settings` with the partition's name and how it is kept. JSON, and the
 * CRC-32C as `atomic-file.ts` writes it. Thread: the journal worker; owned by the stream store.
 *
 * Most partitions have folders of their own name. Names that a log directory has another use for, or that are too long for it, have a
 * folder `--<SHA-256 of the name, hexadecimal>`; the file says which name it is.
 */

import { createHash } from 'node:crypto';
import type { FileSystem } from '../core/ports/file-system.ts';
import type { StreamSettings } from '../core/ports/stream-store.ts';
import { readWholeFile, replaceFile } from './atomic-file.ts';
import type { PartitionSettings } from './log-directory.ts';

export const settingsFile = 'settings';
const version = 1;
const hashedPrefix = '--';
const plainName = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/;

export interface KeptSettings {
  readonly name: string;
  readonly settings: StreamSettings;
  /** Under which its objects are, when it has a cold tier. */
  readonly tierId?: string;
}

export function folderOf(name: string): string {
  if (plainName.test(name) && !name.startsWith(hashedPrefix) && !name.endsWith('.removed')) return name;
  return hashedPrefix + createHash('sha256').update(name).digest('hex');
}

/** Name of the partition in a folder when the folder alone says it, else null. */
export function plainNameOf(folder: string): string | null {
  return folder.startsWith(hashedPrefix) ? null : folder;
}

/** Durable when it returns. */
export function writeSettings(files: FileSystem, kept: KeptSettings): void {
  replaceFile(files, settingsFile, Buffer.from(JSON.stringify({ version, ...kept })));
}

/** `missing`: the partition was never answered to whoever made it, or was made without a stream store. */
export function readSettings(files: FileSystem): KeptSettings | 'missing' | 'damaged' {
  const content = readWholeFile(files, settingsFile);
  if (typeof content === 'string') return content;
  // The checksum says that it is what was written.
  const {
    version: found,
    name,
    settings,
    tierId,
  } = JSON.parse(content.toString()) as KeptSettings & { readonly version: number };
  if (found !== version) return 'damaged';
  return { name, settings, ...(tierId === undefined ? {} : { tierId }) };
}

/** What the log itself has to know of them. */
export function partitionSettingsOf(settings: StreamSettings): PartitionSettings {
  const { retentionBytes = null, retentionMs = null, batchBytesMax, segmentBytes } = settings;
  return {
    retentionBytes,
    retentionMs,
    ...(batchBytesMax === undefined ? {} : { batchBytesMax }),
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  };
}
