/** A journal with a cold tier in a real object storage, for the tests of this folder. Thread of the test, or of a process that it kills. */
import type { ObjectStore } from '../../../src/core/ports/object-store.ts';
import { type JournalStore, openJournalStore } from '../../../src/journal/stream-store.ts';

const mebibyte = 1024 * 1024;

/** Segments of a few parts, whose local copies go at once. */
export const tieredSettings = { isTiered: true, segmentBytes: 12 * mebibyte };

/** 16 KiB that tell their number anywhere. */
export function numbered(number: number): string {
  return `${number}.`.repeat(Math.ceil(16_384 / (`${number}`.length + 1)));
}

export function openTiered(folder: string, objects: ObjectStore): JournalStore {
  return openJournalStore({
    directories: [folder],
    freeBytesMin: 0,
    upkeepMs: 50,
    tier: {
      objects,
      partBytes: 5 * mebibyte,
      local: { bytes: 1, ms: null },
      retryMsMin: 20,
      retryMsMax: 200,
      purgeAgainMs: 0,
      cacheBytes: 8 * mebibyte,
    },
  });
}
