import { describe, expect, it } from 'vitest';
import { buildControlBatch } from '../../../src/core/batch/control-batch.ts';
import { StorageError } from '../../../src/core/streams/storage-error.ts';
import { segmentName } from '../../../src/journal/segment/segment-format.ts';
import { batchOf, LogFixture, recordsOf } from './journal-fixture.ts';

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof StorageError ? error.code : String(error);
  }
  return 'nothing was thrown';
}

describe('PartitionLog', () => {
  it('append() gives dense offsets and answers when the round is durable', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    const results = fixture.append(log, batchOf(['a', 'b']), batchOf(['c']));
    expect(results.map(({ error, baseOffset, lastOffset }) => [error, baseOffset, lastOffset])).toEqual([
      [null, 0, 1],
      [null, 2, 2],
    ]);
    expect(fixture.all(log)).toEqual(['0:a', '1:b', '2:c']);
    expect(log.highWatermark).toBe(3);
  });

  it('read() shows nothing that is not durable', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, batchOf(['a']));
    fixture.commit.submit(log, batchOf(['b']), { leaderEpoch: 1 }, () => undefined);
    fixture.commit.flush();
    expect(log.logEndOffset).toBe(2);
    expect(recordsOf(log.read({ offset: 0, bytesMax: 1e6 }).slices)).toEqual(['0:a']);
    expect(log.read({ offset: 1, bytesMax: 1e6 }).slices).toEqual([]);
    fixture.settle();
    expect(recordsOf(log.read({ offset: 1, bytesMax: 1e6 }).slices)).toEqual(['1:b']);
  });

  it.each([
    ['after a clean shutdown', true],
    ['after a crash', false],
  ])('opens again %s with all records, from files', (_, isClean) => {
    const fixture = new LogFixture();
    const log = fixture.open();
    for (let number = 0; number < 2000; number += 1) fixture.append(log, batchOf([`value ${number}`]));
    expect(log.segmentCount).toBeGreaterThan(2);
    const before = fixture.all(log);
    expect(before.length).toBe(2000);
    if (isClean) expect(log.close()).toBe(true);
    fixture.disk.crash('drop');
    const again = fixture.open({}, isClean);
    expect(fixture.all(again)).toEqual(before);
    expect(fixture.append(again, batchOf(['next']))[0].baseOffset).toBe(2000);
    expect(fixture.events).toEqual([]);
  });

  it('read() answers what is asked for from any offset', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    for (let number = 0; number < 300; number += 1) fixture.append(log, batchOf([`a${number}`, `b${number}`]));
    for (const isCold of [false, true]) {
      const reader = isCold ? fixture.open() : log;
      for (let offset = 0; offset < 600; offset += 7) {
        const { slices, nextOffset } = reader.read({ offset, bytesMax: 1 });
        expect(recordsOf(slices)).toContain(`${offset}:${offset % 2 === 0 ? 'a' : 'b'}${offset >> 1}`);
        expect(nextOffset).toBe((offset >> 1) * 2 + 2);
      }
    }
    expect(codeOf(() => log.read({ offset: 601, bytesMax: 1 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
  });

  it('append() answers a repetition with the offset of the original, also after a crash', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    const batches = [0, 1, 2].map((baseSequence) => batchOf(['x'], { producerId: 7, producerEpoch: 0, baseSequence }));
    fixture.append(log, ...batches);
    expect(fixture.append(log, batches[1])[0]).toMatchObject({ error: null, baseOffset: 1, isDuplicate: true });
    fixture.disk.crash('drop');
    const again = fixture.open();
    expect(fixture.append(again, batches[2])[0]).toMatchObject({ error: null, baseOffset: 2, isDuplicate: true });
    // Behind a batch without a producer it would be stored again.
    const behindPlain = Buffer.concat([batchOf(['plain']), batches[0]]);
    expect(fixture.append(again, behindPlain)[0].error?.code).toBe('STORAGE_BATCH_INVALID');
    const gap = batchOf(['x'], { producerId: 7, producerEpoch: 0, baseSequence: 9 });
    expect(fixture.append(again, gap)[0].error?.code).toBe('STORAGE_SEQUENCE_OUT_OF_ORDER');
    fixture.append(again, batchOf(['x'], { producerId: 7, producerEpoch: 1, baseSequence: 0 }));
    const old = batchOf(['x'], { producerId: 7, producerEpoch: 0, baseSequence: 3 });
    expect(fixture.append(again, old)[0].error?.code).toBe('STORAGE_PRODUCER_FENCED');
    expect(again.logEndOffset).toBe(4);
  });

  it('lastStableOffset stops before an undecided transaction, and abortedIn() knows the aborted', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    const data = (producerId: number, baseSequence: number) =>
      batchOf(['t'], { attributes: 16, producerId, producerEpoch: 0, baseSequence });
    const marker = (producerId: number, type: 'abort' | 'commit') =>
      buildControlBatch({ type, producerId, producerEpoch: 0, coordinatorEpoch: 0, timestampMs: 5 });
    fixture.append(log, batchOf(['n']), data(1, 0), data(2, 0), marker(1, 'abort'));
    expect([log.highWatermark, log.lastStableOffset]).toEqual([4, 2]);
    expect(log.read({ offset: 0, bytesMax: 1e6, isolation: 'stable' }).nextOffset).toBe(2);
    fixture.append(log, marker(2, 'commit'));
    expect(log.lastStableOffset).toBe(5);
    const expected = [{ producerId: 1, firstOffset: 1, lastOffset: 3, lastStableOffset: 2 }];
    expect(log.read({ offset: 0, bytesMax: 1e6, isolation: 'stable' }).aborted).toEqual(expected);
    expect(log.abortedIn(4, 5)).toEqual([]);
    fixture.disk.crash('drop');
    const again = fixture.open();
    expect(again.abortedIn(0, 5)).toEqual(expected);
    expect(again.lastStableOffset).toBe(5);
  });

  it('truncateTo() forgets the end, epochs and producers, over several segments', () => {
    const fixture = new LogFixture();
    const log = fixture.open({ segmentBytes: 16 * 1024 });
    for (let number = 0; number < 400; number += 1) {
      fixture.appendAs(
        log,
        number < 200 ? 1 : 5,
        batchOf([`v${number}`], { producerId: 3, producerEpoch: 0, baseSequence: number }),
      );
    }
    expect(log.endOffsetForEpoch(3)).toEqual({ epoch: 1, endOffset: 200 });
    const before = fixture.all(log).slice(0, 150);
    log.truncateTo(150);
    expect(log.logEndOffset).toBe(150);
    expect(log.leaderEpoch).toBe(1);
    expect(fixture.all(log)).toEqual(before);
    fixture.disk.crash('drop');
    const again = fixture.open({ segmentBytes: 16 * 1024 });
    expect(fixture.all(again)).toEqual(before);
    const next = batchOf(['new'], { producerId: 3, producerEpoch: 0, baseSequence: 150 });
    expect(fixture.appendAs(again, 6, next)[0]).toMatchObject({ error: null, baseOffset: 150 });
    expect(fixture.appendAs(again, 5, batchOf(['old']))[0].error?.code).toBe('STORAGE_LEADER_FENCED');
  });

  it('deleteRecordsBefore() and retention move the start of the log and free the segments', () => {
    const fixture = new LogFixture();
    const options = { segmentBytes: 16 * 1024, retentionBytes: 16 * 1024, retentionMs: 10_000 };
    const log = fixture.open(options);
    for (let number = 0; number < 1000; number += 1) fixture.append(log, batchOf([`v${number}`]));
    const files = fixture.disk.list().length;
    expect(log.deleteRecordsBefore(333)).toBe(333);
    expect(fixture.disk.list().length).toBeLessThan(files);
    expect(fixture.all(log)[0]).toMatch(/^3\d\d:/);
    expect(codeOf(() => log.read({ offset: 332, bytesMax: 1 }))).toBe('STORAGE_OFFSET_OUT_OF_RANGE');
    log.applyRetention(2000);
    expect(log.sizeBytes).toBeLessThan(3 * 16 * 1024);
    log.applyRetention(20_000);
    expect(log.logStartOffset).toBe(1000);
    fixture.disk.crash('drop');
    const again = fixture.open(options);
    expect([again.logStartOffset, again.logEndOffset]).toEqual([1000, 1000]);
    expect(fixture.events).toEqual([]);
  });

  it('offsetForTime() finds the first record at or behind a time', () => {
    const fixture = new LogFixture();
    const log = fixture.open({ segmentBytes: 16 * 1024 });
    for (let number = 0; number < 500; number += 1) {
      fixture.append(log, batchOf(['v'], { timestampMs: 10 * number }));
    }
    for (const timestamp of [0, 1, 995, 4990]) {
      const offset = Math.ceil(timestamp / 10);
      expect(log.offsetForTime(timestamp)).toEqual({ offset, timestamp: 10 * offset });
    }
    expect(log.offsetForTime(4991)).toBeNull();
  });

  it('a full disk refuses appends, leaves nothing of them, and is used again when there is room', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, batchOf(['a']));
    fixture.disk.capacityBytes = 16 * 1024 + 12288 + 3000;
    const refused: string[] = [];
    for (let number = 0; number < 50; number += 1) {
      const [result] = fixture.append(
        log,
        batchOf(['x'.repeat(900)], { producerId: 1, producerEpoch: 0, baseSequence: number }),
      );
      if (result.error !== null) refused.push(result.error.code);
    }
    expect(new Set(refused)).toEqual(new Set(['STORAGE_DISK_FULL', 'STORAGE_SEQUENCE_OUT_OF_ORDER']));
    const end = log.logEndOffset;
    expect(log.failure).toBeNull();
    fixture.disk.capacityBytes = 1e9;
    const sequence = end - 1;
    const next = batchOf(['again'], { producerId: 1, producerEpoch: 0, baseSequence: sequence });
    expect(fixture.append(log, next)[0]).toMatchObject({ error: null, baseOffset: end });
    fixture.disk.crash('drop');
    expect(fixture.all(fixture.open()).length).toBe(end + 1);
  });

  it('a failed sync takes the partition out of service, and reopen() brings it back without what was refused', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    fixture.append(log, batchOf(['a']));
    fixture.disk.fail('sync', 1);
    expect(fixture.append(log, batchOf(['b']))[0].error?.code).toBe('STORAGE_PARTITION_FAILED');
    expect(fixture.append(log, batchOf(['c']))[0].error?.code).toBe('STORAGE_PARTITION_FAILED');
    expect(codeOf(() => log.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_PARTITION_FAILED');
    log.reopen(2000);
    expect(log.failure).toBeNull();
    const kept = fixture.all(log);
    expect(kept[0]).toBe('0:a');
    fixture.append(log, batchOf(['d']));
    fixture.disk.crash('drop');
    expect(fixture.all(fixture.open())).toEqual([...kept, `${kept.length}:d`]);
  });

  it('damage in the middle is named, not skipped, and the rest is served', () => {
    const fixture = new LogFixture();
    const log = fixture.open();
    for (let number = 0; number < 100; number += 1) fixture.append(log, batchOf([`value ${number}`]));
    log.close();
    const name = segmentName(0);
    const position = fixture.disk.content(name).indexOf('value 50');
    fixture.disk.flipBit(name, position * 8);
    for (const isClean of [true, false]) {
      fixture.events.length = 0;
      const again = fixture.open({}, isClean);
      const head = again.read({ offset: 0, bytesMax: 1e6 });
      expect(head.nextOffset).toBe(50);
      expect(() => again.read({ offset: 50, bytesMax: 1e6 })).toThrow(
        new RegExp(`Cannot read "${name}" at byte \\d+: offset 50 is damaged`),
      );
      expect(again.read({ offset: 51, bytesMax: 1e6 }).nextOffset).toBe(100);
      expect(fixture.events).toMatchObject([{ type: 'corruption', firstOffset: 50, nextOffset: 51 }]);
      again.close();
    }
  });
});
