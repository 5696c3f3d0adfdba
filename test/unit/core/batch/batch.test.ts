import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import {
  assignAppendTime,
  assignPlace,
  hasSoundCrc,
  readBatchHeader,
  sealBatch,
} from '../../../../src/core/batch/batch-format.ts';
import { buildControlBatch, readControlType } from '../../../../src/core/batch/control-batch.ts';
import { crc32c, tableCrc32c } from '../../../../src/core/batch/crc32c.ts';
import { RecordCursor } from '../../../../src/core/batch/record-cursor.ts';
import { validateBatches } from '../../../../src/core/batch/validate-batch.ts';
import { VarintReader, varintSize, writeVarint } from '../../../../src/core/batch/varint.ts';
import { goldenBytes } from '../../journal/golden.ts';

const limits = { batchBytesMax: 1024 * 1024 };
const producer = { producerId: 42, producerEpoch: 7, baseSequence: 5 };

function twoRecords(): Buffer {
  const builder = new BatchBuilder(producer);
  const headers = [
    { key: Buffer.from('h1'), value: Buffer.from('x') },
    { key: Buffer.from('h2'), value: null },
  ];
  builder.add({ timestampMs: 1_700_000_000_000, key: Buffer.from('key'), value: Buffer.from('value'), headers });
  builder.add({ timestampMs: 1_700_000_000_150, key: null, value: Buffer.alloc(0) });
  return builder.build();
}

describe('crc32c()', () => {
  it('is the CRC of the standard, in both implementations, also in parts', () => {
    for (const crc of [crc32c, tableCrc32c]) {
      expect(crc(Buffer.from('123456789'))).toBe(0xe3069283);
      expect(crc(Buffer.from('6789'), crc(Buffer.from('12345')))).toBe(0xe3069283);
      expect(crc(Buffer.alloc(32))).toBe(0x8a9136aa);
    }
  });

  it('is the same in both implementations for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (bytes, initial) => {
        expect(tableCrc32c(bytes, initial)).toBe(crc32c(bytes, initial));
      }),
    );
  });
});

describe('varints', () => {
  it('come back as they were written', () => {
    const reader = new VarintReader();
    const target = Buffer.alloc(16);
    const check = (value: number): void => {
      const end = writeVarint(target, value, 0);
      expect(end).toBe(varintSize(value));
      reader.reset(target, 0, end);
      expect([reader.next(), reader.at, reader.isSound]).toEqual([value, end, true]);
      reader.reset(target, 0, end - 1);
      reader.next();
      expect(reader.isSound).toBe(false);
    };
    for (const value of [0, -1, 1, 63, 64, -64, -65, 2 ** 31 - 1, -(2 ** 31), 2 ** 28, 2 ** 52, -(2 ** 52)])
      check(value);
    // Without -0, which no integer on the wire is.
    fc.assert(fc.property(fc.maxSafeInteger(), (value) => check(Math.trunc(value / 2) + 0)));
  });
});

describe('BatchBuilder', () => {
  it('build() makes the bytes of the hand-made batches', () => {
    const batch = twoRecords();
    assignPlace(batch, 0, 1000, 3);
    expect(batch.toString('hex')).toBe(goldenBytes('two-records').toString('hex'));
    const timestampMs = 1_700_000_000_000;
    const marker = buildControlBatch({ ...producer, type: 'abort', coordinatorEpoch: 2, timestampMs });
    assignPlace(marker, 0, 7, 1);
    expect(marker.toString('hex')).toBe(goldenBytes('abort-marker').toString('hex'));
    const empty = new BatchBuilder().buildEmpty(19);
    assignPlace(empty, 0, 10, 1);
    expect(empty.toString('hex')).toBe(goldenBytes('empty-range').toString('hex'));
  });
});

describe('reading a batch', () => {
  it('readBatchHeader() and RecordCursor read the hand-made batch', () => {
    const batch = goldenBytes('two-records');
    expect(readBatchHeader(batch)).toEqual({
      ...producer,
      baseOffset: 1000,
      size: batch.length,
      leaderEpoch: 3,
      attributes: 0,
      lastOffset: 1001,
      baseTimestamp: 1_700_000_000_000,
      maxTimestamp: 1_700_000_000_150,
      recordCount: 2,
    });
    const cursor = new RecordCursor().reset(batch);
    expect(cursor.next()).toBe(true);
    expect([cursor.offset, cursor.timestamp]).toEqual([1000, 1_700_000_000_000]);
    expect([cursor.key?.toString(), cursor.value?.toString()]).toEqual(['key', 'value']);
    expect(cursor.headers().map(({ key, value }) => [key.toString(), value?.toString() ?? null])).toEqual([
      ['h1', 'x'],
      ['h2', null],
    ]);
    expect(cursor.next()).toBe(true);
    expect([cursor.offset, cursor.timestamp, cursor.key, cursor.value?.length]).toEqual([
      1001,
      1_700_000_000_150,
      null,
      0,
    ]);
    expect([cursor.next(), cursor.isSound]).toEqual([false, true]);
    expect(readControlType(goldenBytes('abort-marker'))).toBe('abort');
  });

  it('assignAppendTime() gives all records the time of the append, with a sound CRC', () => {
    const batch = goldenBytes('two-records');
    assignAppendTime(batch, 0, 5000);
    expect(hasSoundCrc(batch, 0, batch.length)).toBe(true);
    const cursor = new RecordCursor().reset(batch);
    cursor.next();
    expect(cursor.timestamp).toBe(5000);
  });

  it('a batch of any records comes back as it was', () => {
    const field = fc.option(fc.uint8Array({ maxLength: 200 }), { nil: null });
    const header = fc.record({ key: fc.uint8Array({ maxLength: 20 }), value: field });
    const record = fc.record({
      timestampMs: fc.integer({ min: -(2 ** 40), max: 2 ** 45 }),
      key: field,
      value: field,
      headers: fc.array(header, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 20 }), (records) => {
        const builder = new BatchBuilder();
        for (const item of records) builder.add(item);
        const batch = builder.build();
        expect(validateBatches(batch, 'producer', limits)[0].recordCount).toBe(records.length);
        const cursor = new RecordCursor().reset(batch);
        for (const [offset, item] of records.entries()) {
          expect(cursor.next()).toBe(true);
          const { timestampMs, key, value, headers } = item;
          expect([cursor.offset, cursor.timestamp]).toEqual([offset, timestampMs]);
          expect([hex(cursor.key), hex(cursor.value)]).toEqual([hex(key), hex(value)]);
          expect(cursor.headers().map((one) => [hex(one.key), hex(one.value)])).toEqual(
            headers.map((one) => [hex(one.key), hex(one.value)]),
          );
        }
        expect([cursor.next(), cursor.isSound]).toEqual([false, true]);
      }),
    );
  });
});

describe('validateBatches()', () => {
  const refuse = (
    change: (batch: Buffer) => Buffer | undefined,
    reason: RegExp,
    origin: 'producer' | 'replica' = 'producer',
  ) => {
    const batch = twoRecords();
    const changed = change(batch) ?? batch;
    expect(() => validateBatches(changed, origin, limits)).toThrow(reason);
  };
  const sealed = (change: (batch: Buffer) => void) => (batch: Buffer) => {
    change(batch);
    sealBatch(batch, 0, batch.length);
    return undefined;
  };

  it('takes one batch after the other', () => {
    const batches = Buffer.concat([twoRecords(), twoRecords()]);
    expect(validateBatches(batches, 'producer', limits).map(({ recordCount }) => recordCount)).toEqual([2, 2]);
  });

  it('refuses what is not sound, and says why', () => {
    refuse((batch) => batch.subarray(0, 60), /shorter than a header/);
    refuse((batch) => void batch.writeUInt8(1, 16), /magic is 1/);
    refuse((batch) => batch.subarray(0, batch.length - 1), /length is wrong/);
    refuse((batch) => void batch.writeInt32BE(-5, 8), /length is wrong/);
    refuse((batch) => void batch.writeUInt8(batch[70] ^ 1, 70), /CRC is wrong/);
    refuse(
      sealed((batch) => batch.writeInt16BE(5, 21)),
      /compression is unknown/,
    );
    refuse(
      sealed((batch) => batch.writeInt32BE(2, 23)),
      /2 records over 3 offsets/,
    );
    refuse(
      sealed((batch) => batch.writeInt32BE(0, 23)),
      /2 records over 1 offsets/,
      'replica',
    );
    refuse(
      sealed((batch) => batch.writeInt32BE(-1, 53)),
      /gives no sequence/,
    );
    refuse(
      sealed((batch) => batch.writeUInt8(2, 64)),
      /record 0 has a wrong offset/,
    );
    refuse(
      sealed((batch) => batch.writeUInt8(8, 61)),
      /record 0 does not fit/,
    );
    refuse(
      sealed((batch) => batch.writeInt16BE(0x20, 21)),
      /marker is unknown/,
    );
    refuse((batch) => Buffer.concat([batch, Buffer.alloc(3)]), /shorter than a header/);
    refuse(() => Buffer.alloc(0), /there is none/);
  });

  it('takes compressed batches unopened, and from a replica batches with gaps', () => {
    const batch = twoRecords();
    sealed((bytes) => bytes.writeInt16BE(4, 21))(batch);
    batch.fill(9, 61);
    sealBatch(batch, 0, batch.length);
    expect(validateBatches(batch, 'producer', limits)[0].recordCount).toBe(2);
    expect(validateBatches(goldenBytes('empty-range'), 'replica', limits)[0].recordCount).toBe(0);
    expect(() => validateBatches(goldenBytes('empty-range'), 'producer', limits)).toThrow(/0 records over 20 offsets/);
  });

  it('never throws anything else, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 8 }), (place, bytes) => {
        const batch = twoRecords();
        batch.set(bytes, 21 + (place % (batch.length - 21 - bytes.length)));
        sealBatch(batch, 0, batch.length);
        try {
          const [header] = validateBatches(batch, 'producer', limits);
          const cursor = new RecordCursor();
          if ((header.attributes & 7) !== 0) return;
          cursor.reset(batch);
          let count = 0;
          while (cursor.next()) count += cursor.headers().length >= 0 ? 1 : 0;
          expect([count, cursor.isSound]).toEqual([header.recordCount, true]);
        } catch (error) {
          expect(error).toMatchObject({ code: 'STORAGE_BATCH_INVALID' });
        }
      }),
    );
  });
});

function hex(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('hex');
}
