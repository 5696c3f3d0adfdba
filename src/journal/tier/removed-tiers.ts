/**
 * Partitions that were removed, until their objects are: a file `tier-removed.<id>` in the log directory for each, written before the
 * partition goes, so that its objects are found also after a crash and however long the tier is away. Thread: the journal worker; owned by
 * the stream store.
 *
 * File, replaced as a whole (`atomic-file.ts`): JSON `{"version": 1, "name": …}`, and the CRC-32C 4.
 */

import type { FileSystem } from '../../core/ports/file-system.ts';
import { replaceFile } from '../atomic-file.ts';

const prefix = 'tier-removed.';
const namePattern = /^tier-removed[.][0-9a-f-]{36}$/;

/** Durable when it returns. Throws the disk's errors. */
export function noteRemoved(root: FileSystem, id: string, name: string): void {
  replaceFile(root, `${prefix}${id}`, Buffer.from(JSON.stringify({ version: 1, name })));
}

/** Ids of partitions whose objects are to be deleted. */
export function removedIn(root: FileSystem): readonly string[] {
  return root
    .list()
    .filter((name) => namePattern.test(name))
    .map((name) => name.slice(prefix.length));
}

/** Its objects are gone, or it was not removed after all. */
export function forgetRemoved(root: FileSystem, id: string): void {
  root.remove(`${prefix}${id}`);
  root.syncFolder();
}
