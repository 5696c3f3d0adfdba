/**
 * Rewrites a coarse bucket into the buckets of the level below it, and removes it. When that is cut short, all of it is written again
 * after the restart: what was moved is marked, and a number that is there twice counts once. Thread: the owner of the delayed messages.
 */

import type { StorageError } from '../streams/storage-error.ts';
import { backoffMs, type Pauses } from '../transactions/backoff.ts';
import { readRecords } from '../transactions/internal-stream.ts';
import type { Bucket } from './bucket.ts';
import type { BucketLevels } from './bucket-levels.ts';
import { dueMsOf, storedKind } from './stored-message.ts';

export interface BucketMoverOptions {
  readonly levels: BucketLevels;
  readonly pauses: Pauses;
  /** The bucket at this place, made when there is none. */
  bucketAt(level: number, index: number): Bucket;
}

const chunkBytes = 256 * 1024;

/** Resolves when all of it is durable in other buckets; the stream can be removed then. Rejects with StorageError. */
export async function moveBucket(bucket: Bucket, options: BucketMoverOptions): Promise<void> {
  const partition = await bucket.stream.open();
  let offset = (await partition.places()).logStartOffset;
  for (;;) {
    const { logEndOffset, highWatermark } = await partition.places();
    bucket.stream.knowUpTo(highWatermark);
    if (offset >= highWatermark && logEndOffset === highWatermark && bucket.stream.underWay === 0) return;
    let values: Buffer[] = [];
    const from = offset;
    let isChunk = true;
    offset = await readRecords(
      partition,
      from,
      () => (isChunk ? highWatermark : 0),
      ({ value }) => {
        isChunk = false;
        if (value !== null) values.push(Buffer.from(value));
      },
      { bytesMax: chunkBytes, onDamage: () => bucket.onDamage() },
    );
    for (let attempts = 1; values.length > 0; attempts += 1) {
      values = await writeBelow(bucket, values, options);
      if (values.length > 0) await options.pauses.wait(backoffMs(attempts));
    }
    // Appends of the bucket that were under way when it began to move are answered soon.
    if (offset === from) await options.pauses.wait(backoffMs(1));
  }
}

/** Answers what was not stored, or may not have been. */
function writeBelow(bucket: Bucket, values: readonly Buffer[], options: BucketMoverOptions): Promise<Buffer[]> {
  const level = bucket.place.level - 1;
  const failed: Buffer[] = [];
  let left = values.length;
  return new Promise((resolve) => {
    for (const value of values) {
      if (value[0] === storedKind.message) value[0] = storedKind.moved;
      const dueMs = Math.max(dueMsOf(value), options.levels.beginMs(bucket.place));
      const below = options.bucketAt(level, options.levels.indexOf(level, dueMs));
      below.stream.add(value, (error: StorageError | null, offset: number) => {
        if (error === null) below.onStored(value, offset);
        else failed.push(value);
        left -= 1;
        if (left === 0) resolve(failed);
      });
    }
  });
}
