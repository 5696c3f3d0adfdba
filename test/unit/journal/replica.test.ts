import { describe, expect, it } from 'vitest';
import { readBatchHeader } from '../../../src/core/batch/batch-format.ts';
import type { PartitionLog } from '../../../src/journal/partition-log.ts';
import { batchOf, LogFixture, recordsOf } from './journal-fixture.ts';

const options = { segmentBytes: 16 * 1024, isReplicated: true };

/** All durable batches from `offset` on, each as bytes of its own: what a follower fetches. */
function fetchFrom(log: PartitionLog, offset: number): Buffer[] {
  const batches: Buffer[] = [];
  while (offset < log.durableOffset) {
    const { slices, nextOffset } = log.read({ offset, bytesMax: 4096, isolation: 'durable' });
    for (const slice of slices) {
      for (let at = 0; at < slice.length; ) {
        const { size } = readBatchHeader(slice, at);
        batches.push(Buffer.from(slice.subarray(at, at + size)));
        at += size;
      }
    }
    offset = nextOffset;
  }
  return batches;
}

function durable(log: PartitionLog): string[] {
  return fetchFrom(log, log.logStartOffset).flatMap((batch) => recordsOf([batch]));
}

describe('PartitionLog of a partition with replicas', () => {
  it('read() shows what setHighWatermark() has committed, and no more than is durable', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    fixture.append(log, batchOf(['a']), batchOf(['b', 'c']), batchOf(['d']));
    expect([log.highWatermark, log.durableOffset]).toEqual([0, 4]);
    expect(log.read({ offset: 0, bytesMax: 1e6 }).slices).toEqual([]);
    expect(() => log.read({ offset: 1, bytesMax: 1e6 })).toThrow('the log has 0 to 0');
    // In the middle of a batch: the batch is not committed.
    log.setHighWatermark(2);
    expect(recordsOf(log.read({ offset: 0, bytesMax: 1e6 }).slices)).toEqual(['0:a']);
    log.setHighWatermark(99);
    expect(log.highWatermark).toBe(4);
    log.setHighWatermark(1);
    expect(log.highWatermark).toBe(4);
    expect(recordsOf(log.read({ offset: 0, bytesMax: 1e6 }).slices)).toEqual(['0:a', '1:b', '2:c', '3:d']);
  });

  it('keeps the high watermark of its last checkpoint over a restart, and never one behind its end', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    for (let number = 0; number < 10; number += 1) fixture.append(log, batchOf([`${number}`]));
    log.setHighWatermark(6);
    log.close();
    const again = fixture.open(options, true);
    expect([again.highWatermark, again.durableOffset]).toEqual([6, 10]);
    fixture.disk.crash('drop');
    expect(fixture.open(options).highWatermark).toBeLessThanOrEqual(10);
  });

  it('a replica append keeps offsets and epochs, and the logs become the same byte for byte', () => {
    const leaderSide = new LogFixture(1);
    const leader = leaderSide.open(options);
    for (let number = 0; number < 200; number += 1) {
      const producer = { producerId: 4, producerEpoch: 0, baseSequence: number };
      leaderSide.appendAs(leader, 1 + (number >> 6), batchOf([`value ${number}`], producer));
    }
    const followerSide = new LogFixture(2);
    const follower = followerSide.open(options);
    for (const batch of fetchFrom(leader, 0)) {
      expect(followerSide.appendAs(follower, 'replica', batch)[0].error).toBeNull();
    }
    expect(Buffer.concat(fetchFrom(follower, 0)).equals(Buffer.concat(fetchFrom(leader, 0)))).toBe(true);
    expect(follower.leaderEpoch).toBe(leader.leaderEpoch);
    expect(follower.endOffsetForEpoch(2)).toEqual(leader.endOffsetForEpoch(2));
    expect(follower.producer(4)).toEqual(leader.producer(4));
    followerSide.disk.crash('drop');
    expect(durable(followerSide.open(options))).toEqual(durable(leader));
  });

  it('refuses a replica append that leaves a gap, comes twice, or is of an older epoch', () => {
    const leaderSide = new LogFixture(1);
    const leader = leaderSide.open(options);
    leaderSide.appendAs(leader, 5, batchOf(['a']), batchOf(['b']), batchOf(['c']));
    const [first, second, third] = fetchFrom(leader, 0);
    const side = new LogFixture(2);
    const follower = side.open(options);
    const codes = (batch: Buffer): string => side.appendAs(follower, 'replica', batch)[0].error?.code ?? 'stored';
    expect(codes(second)).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    expect(codes(first)).toBe('stored');
    expect(codes(first)).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    const old = Buffer.from(second);
    old.writeInt32BE(3, 12);
    expect(codes(old)).toBe('STORAGE_LEADER_FENCED');
    // Several batches in one append, the last of which does not follow: none of them is stored.
    expect(codes(Buffer.concat([second, first]))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    expect(codes(Buffer.concat([second, third]))).toBe('stored');
    expect(durable(follower)).toEqual(['0:a', '1:b', '2:c']);
  });

  it('a follower that had more than its new leader truncates by epoch and becomes the same', () => {
    for (const [ofOld, ofNew] of [
      [8, 5],
      [5, 5],
      [300, 120],
    ]) {
      const oldSide = new LogFixture(1);
      const old = oldSide.open(options);
      const newSide = new LogFixture(2);
      const fresh = newSide.open(options);
      for (let number = 0; number < ofOld; number += 1) oldSide.appendAs(old, 1, batchOf([`value ${number}`]));
      for (const batch of fetchFrom(old, 0).slice(0, ofNew)) newSide.appendAs(fresh, 'replica', batch);
      old.setHighWatermark(ofNew);
      // It leads with the next epoch, and the old one never heard of that.
      for (let number = 0; number < 4; number += 1) newSide.appendAs(fresh, 2, batchOf([`new ${number}`]));
      const answer = fresh.endOffsetForEpoch(old.leaderEpoch);
      expect(answer).toEqual({ epoch: 1, endOffset: ofNew });
      old.truncateTo(Math.min(old.logEndOffset, answer?.endOffset ?? 0));
      expect([old.logEndOffset, old.highWatermark]).toEqual([ofNew, ofNew]);
      // The truncation is durable by itself.
      oldSide.disk.crash('drop');
      const again = oldSide.open(options);
      expect(again.logEndOffset).toBe(ofNew);
      for (const batch of fetchFrom(fresh, ofNew)) {
        expect(oldSide.appendAs(again, 'replica', batch)[0].error).toBeNull();
      }
      expect(durable(again)).toEqual(durable(fresh));
      expect(again.endOffsetForEpoch(1)).toEqual({ epoch: 1, endOffset: ofNew });
      expect(again.leaderEpoch).toBe(2);
    }
  });

  it('truncateTo() below the high watermark takes it back with it', () => {
    const fixture = new LogFixture();
    const log = fixture.open(options);
    for (let number = 0; number < 10; number += 1) fixture.append(log, batchOf([`${number}`]));
    log.setHighWatermark(8);
    log.truncateTo(3);
    expect([log.highWatermark, log.logEndOffset]).toEqual([3, 3]);
    expect(durable(log)).toEqual(['0:0', '1:1', '2:2']);
  });
});
