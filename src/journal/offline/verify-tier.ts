/**
 * What a partition has in the cold tier: whether its list joins the local files, and, when the tier is asked, whether every object is what
 * the list says. Changes nothing. Thread: the one of the command; called by `ringmq ctl journal verify`.
 */

import { crc32c } from '../../core/batch/crc32c.ts';
import type { ObjectStore } from '../../core/ports/object-store.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { readWholeFile } from '../atomic-file.ts';
import { readSettings } from '../stream-settings-file.ts';
import { SegmentCheck } from '../tier/segment-check.ts';
import {
  decodeManifest,
  manifestKey,
  manifestName,
  objectsOf,
  openManifest,
  segmentKey,
  type TierEntry,
  type TierManifest,
} from '../tier/tier-manifest.ts';
import { decodeDescription } from '../tier/tiered-segment.ts';
import type { OfflinePartition } from './offline-partition.ts';
import type { JournalProblem } from './verify.ts';

/** Read at once. */
const stepBytes = 8 * 1024 * 1024;

export interface TierSummary {
  readonly partition: string;
  readonly segments: number;
  /** As the list says. */
  readonly bytes: number;
  readonly startOffset: number;
  readonly endOffset: number;
  /** Of objects that were read and are sound; 0 when the tier was not asked. */
  readonly batches: number;
  readonly records: number;
}

type Report = (problem: JournalProblem) => void;

/** Null: it has no tier. `objects`: the tier, to read all of it. Rejects when that does not answer. */
export async function verifyTier(
  partition: OfflinePartition,
  objects: ObjectStore | null,
  report: Report,
): Promise<TierSummary | null> {
  const check = new TierVerification(partition, report);
  const manifest = check.readList();
  if (manifest === null) return null;
  if (objects !== null) await check.readObjects(manifest, objects);
  const { entries, startOffset } = manifest;
  return {
    partition: partition.name,
    segments: entries.length,
    bytes: entries.reduce((sum, { objectBytes }) => sum + objectBytes, 0),
    startOffset,
    endOffset: entries.at(-1)?.nextOffset ?? startOffset,
    batches: check.batches,
    records: check.records,
  };
}

class TierVerification {
  batches = 0;
  records = 0;
  readonly #partition: OfflinePartition;
  readonly #report: Report;

  constructor(partition: OfflinePartition, report: Report) {
    this.#partition = partition;
    this.#report = report;
  }

  /** Checks the file, and that the local log goes on where it ends. */
  readList(): TierManifest | null {
    const { files, segments, checkpoint } = this.#partition;
    const content = readWholeFile(files, manifestName);
    const settings = readSettings(files);
    const id = typeof settings === 'string' ? null : (settings.tierId ?? null);
    if (content === 'missing') {
      if (id !== null) this.#tell('damage', manifestName, 0, 'the list of what is in the cold tier is missing');
      return null;
    }
    const manifest = content === 'damaged' ? null : decodeManifest(content);
    if (manifest === null || (id !== null && manifest.id !== id)) {
      this.#tell(
        'damage',
        manifestName,
        0,
        'the list of what is in the cold tier is damaged; it is fetched from there',
      );
      return null;
    }
    const end = manifest.entries.at(-1)?.nextOffset ?? null;
    const localStart = typeof checkpoint === 'string' ? 0 : checkpoint.logStartOffset;
    const first = segments[0]?.segment.baseOffset ?? localStart;
    if (end !== null && end < localStart && end < first) {
      const what = 'the log on this disk begins behind the end of what is in the cold tier: the tier is not read';
      this.#tell('note', manifestName, 0, what);
    }
    return manifest;
  }

  async readObjects(manifest: TierManifest, objects: ObjectStore): Promise<void> {
    const { id, entries } = manifest;
    const copy = await objects.get(manifestKey(id));
    const remote = copy === null ? null : openManifest(copy);
    if (copy !== null && remote === null) this.#tell('damage', manifestKey(id), 0, 'the list in the tier is damaged');
    else if (remote?.sequence !== manifest.sequence) {
      const state = remote === null ? 'missing' : `at ${remote.sequence}, and the one here at ${manifest.sequence}`;
      const isAhead = (remote?.sequence ?? 0) > manifest.sequence;
      this.#tell(isAhead ? 'damage' : 'note', manifestKey(id), 0, `the list in the tier is ${state}`);
    }
    for (const entry of entries) await this.#readObject(manifest, entry, objects);
    const named = new Set([manifestKey(id), ...entries.map((entry) => segmentKey(id, entry))]);
    for (let after = ''; ; ) {
      const found = await objects.list(objectsOf(id), after);
      for (const { key } of found) {
        if (!named.has(key))
          this.#tell('note', key, 0, 'an object that no list names; it is deleted when the broker runs');
      }
      const last = found.at(-1);
      if (last === undefined) return;
      after = last.key;
    }
  }

  async #readObject({ id }: TierManifest, entry: TierEntry, objects: ObjectStore): Promise<void> {
    const key = segmentKey(id, entry);
    const { baseOffset, nextOffset, end, objectBytes } = entry;
    const damage = (position: number, what: string): void => {
      this.#tell('damage', key, position, what, baseOffset, nextOffset);
    };
    const tail = await objects.get(key, end, objectBytes - end + 1);
    if (tail === null) {
      damage(0, 'the object is missing, or shorter');
      return;
    }
    const described = decodeDescription(tail, id, entry);
    if (described === null) {
      damage(end, 'the description of the segment is damaged');
      return;
    }
    const { epochs } = described.facts;
    const check = new SegmentCheck({ name: key, baseOffset, nextOffset, end, epochs, indexIntervalBytes: 16 * 1024 });
    try {
      let crc = 0;
      for (let position = 0; position < end; ) {
        const bytes = await objects.get(key, position, Math.min(stepBytes, end - position));
        if (bytes === null || bytes.length === 0) {
          damage(position, 'the object is shorter');
          return;
        }
        crc = crc32c(bytes, crc);
        check.take(bytes, position);
        position += bytes.length;
      }
      const { batches, records } = check.finish();
      this.batches += batches;
      this.records += records;
      if (crc !== entry.crc) damage(0, 'the checksum of the segment is wrong, though its batches are sound');
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORAGE_CORRUPTED') throw error;
      damage(error.position ?? 0, error.message);
    }
  }

  #tell(
    severity: JournalProblem['severity'],
    file: string,
    position: number,
    what: string,
    firstOffset: number | null = null,
    nextOffset: number | null = null,
  ): void {
    const { name: partition } = this.#partition;
    this.#report({ severity, partition, file, position, firstOffset, nextOffset, what });
  }
}
