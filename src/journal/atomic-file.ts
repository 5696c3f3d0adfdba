/**
 * Small files that are replaced as a whole: after a crash there is the old one or the new one. Every such file ends with the
 * CRC-32C of the rest of it. Thread: the journal worker; used for checkpoints, snapshots and indexes.
 */

import { crc32c } from '../core/batch/crc32c.ts';
import type { FileSystem } from '../core/ports/file-system.ts';

/** What a crash in the middle leaves; removed when a partition is opened. */
export const temporarySuffix = '.new';

/**
 * How durable a file is when `replaceFile` returns: with its name; its content, and its name with the next sync of the folder; or
 * not at all.
 */
export type Durability = 'full' | 'content' | 'none';

/** Writes `content` and its CRC. */
export function replaceFile(
  fileSystem: FileSystem,
  name: string,
  content: Buffer,
  durability: Durability = 'full',
): void {
  const temporary = `${name}${temporarySuffix}`;
  if (fileSystem.list().includes(temporary)) fileSystem.remove(temporary);
  const file = fileSystem.open(temporary, { create: true });
  try {
    const bytes = Buffer.alloc(content.length + 4);
    content.copy(bytes);
    bytes.writeUInt32LE(crc32c(content), content.length);
    file.write(bytes, 0);
    if (durability !== 'none') file.syncNow();
  } finally {
    file.close();
  }
  fileSystem.rename(temporary, name);
  if (durability === 'full') fileSystem.syncFolder();
}

/** The content without its CRC; `missing` or `damaged` when there is none. */
export function readWholeFile(fileSystem: FileSystem, name: string): Buffer | 'missing' | 'damaged' {
  if (!fileSystem.list().includes(name)) return 'missing';
  const file = fileSystem.open(name, { create: false });
  try {
    const bytes = Buffer.alloc(file.size());
    if (file.read(bytes, 0) < bytes.length || bytes.length < 4) return 'damaged';
    const content = bytes.subarray(0, bytes.length - 4);
    return crc32c(content) === bytes.readUInt32LE(content.length) ? content : 'damaged';
  } finally {
    file.close();
  }
}
