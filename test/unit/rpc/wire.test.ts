import { BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PipelineRequest, RangeResponse } from '../../../src/rpc/generated/ringmq/placement/v1/kv.ts';
import { noBytes, WireError, WireReader, WireWriter } from '../../../src/rpc/wire.ts';

const safe = fc.oneof(
  fc.maxSafeNat(),
  fc.nat({ max: 300 }),
  fc.constantFrom(2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1),
);
const signed = fc.oneof(fc.maxSafeInteger(), fc.constantFrom(-1, -(2 ** 31), -(2 ** 53) + 1));
const uint32 = fc.oneof(fc.nat({ max: 2 ** 31 - 1 }), fc.constantFrom(127, 128, 2 ** 31, 2 ** 32 - 1));
const int32 = fc.integer();
const bytes = fc.uint8Array({ maxLength: 400 });
const text = fc.string({ unit: 'binary', maxLength: 200 });

/** The same fields through our writer and through the generator's own run-time library. */
const fields = fc.array(
  fc.oneof(
    safe.map((value) => ['uint64', value] as const),
    signed.map((value) => ['int64', value] as const),
    uint32.map((value) => ['uint32', value] as const),
    int32.map((value) => ['int32', value] as const),
    uint32.map((value) => ['fixed32', value] as const),
    fc.boolean().map((value) => ['bool', value] as const),
    fc.double({ noNaN: true }).map((value) => ['double', value] as const),
    bytes.map((value) => ['bytes', value] as const),
    text.map((value) => ['string', value] as const),
  ),
  { maxLength: 20 },
);

type Call = (value: unknown) => unknown;

describe('WireWriter', () => {
  test('WireWriter writes what the reference writes', () => {
    fc.assert(
      fc.property(fields, (list) => {
        const ours = WireWriter.begin();
        const reference = new BinaryWriter();
        for (const [kind, value] of list) {
          (ours[kind].bind(ours) as Call)(value);
          (reference[kind].bind(reference) as Call)(value);
        }
        expect(ours.finish().equals(reference.finish())).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('WireWriter.join() puts lengths before nested messages of any size', () => {
    for (const size of [0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 70_000]) {
      const content = Buffer.alloc(size, 7);
      const ours = WireWriter.begin().uint32(10).fork().fork().bytes(content).join().join().uint32(8).finish();
      const reference = new BinaryWriter().uint32(10).fork().fork().bytes(content).join().join().uint32(8).finish();
      expect(ours.equals(reference)).toBe(true);
    }
  });

  test('WireWriter throws for numbers that do not survive', () => {
    for (const value of [2 ** 53, -1, 0.5, Number.NaN]) {
      expect(() => WireWriter.begin().uint64(value)).toThrow(WireError);
    }
    for (const value of [2 ** 32, -1, 0.5, Number.NaN]) {
      expect(() => WireWriter.begin().uint32(value)).toThrow(WireError);
    }
    expect(() => WireWriter.begin().int64(-(2 ** 53))).toThrow(WireError);
  });

  test('WireWriter.begin() forgets a message that was not finished', () => {
    WireWriter.begin().fork().uint32(5);
    expect([...WireWriter.begin().uint32(1).finish()]).toEqual([1]);
    expect(() => WireWriter.begin().join()).toThrow('nothing was forked');
  });

  test('WireWriter.finish() gives memory of its own', () => {
    const first = WireWriter.begin().uint32(1).finish();
    WireWriter.begin().uint32(2).finish();
    expect([...first]).toEqual([1]);
  });
});

describe('WireReader', () => {
  test('WireReader reads what the reference wrote', () => {
    fc.assert(
      fc.property(fields, (list) => {
        const writer = new BinaryWriter();
        for (const [kind, value] of list) (writer[kind].bind(writer) as Call)(value);
        const reader = new WireReader(writer.finish());
        for (const [kind, value] of list) {
          const read: unknown = reader[kind]();
          if (value instanceof Uint8Array) expect(Buffer.from(read as Uint8Array).equals(value)).toBe(true);
          // Lone surrogates cannot be encoded: the reference writes U+FFFD for them, too.
          else if (typeof value === 'string') expect(read).toBe(value.toWellFormed());
          else expect(Object.is(read, value)).toBe(true);
        }
        reader.leave(reader.len);
      }),
      { numRuns: 300 },
    );
  });

  test('WireReader throws for numbers beyond the safe range', () => {
    const large = new BinaryWriter().uint64(2n ** 53n).finish();
    expect(() => new WireReader(large).uint64()).toThrow('beyond 2^53 - 1');
    const small = new BinaryWriter().int64(-(2n ** 53n)).finish();
    expect(() => new WireReader(small).int64()).toThrow('beyond 2^53 - 1');
    const wide = new BinaryWriter().uint64(2n ** 32n).finish();
    expect(() => new WireReader(wide).uint32()).toThrow('beyond 2^32 - 1');
  });

  test('WireReader throws for a number without an end', () => {
    expect(() => new WireReader(Buffer.alloc(11, 0xff)).uint64()).toThrow(WireError);
    expect(() => new WireReader(Buffer.alloc(11, 0xff)).int64()).toThrow(WireError);
    expect(() => new WireReader(Buffer.alloc(3, 0xff)).uint32()).toThrow(WireError);
    expect(() => new WireReader(noBytes).uint32()).toThrow(WireError);
  });

  test('WireReader throws for text that is not UTF-8', () => {
    const long = Buffer.concat([Buffer.of(20), Buffer.alloc(20, 0xc3)]);
    expect(() => new WireReader(Buffer.of(2, 0xc3, 0x28)).string()).toThrow('not UTF-8');
    expect(() => new WireReader(long).string()).toThrow('not UTF-8');
  });

  test('WireReader.bytes() is a view of what was received', () => {
    const received = Buffer.from([2, 5, 6]);
    const view = new WireReader(received).bytes();
    received[1] = 9;
    expect([...view]).toEqual([9, 6]);
  });

  test('WireReader.skip() passes over fields of newer versions', () => {
    const writer = new BinaryWriter();
    writer.uint32((99 << 3) | 0).int64(-5n);
    writer.uint32((98 << 3) | 1).double(1.5);
    writer.uint32((97 << 3) | 2).string('new');
    writer.uint32((96 << 3) | 5).fixed32(7);
    writer.uint32(8).uint64(42);
    expect(RangeResponse.decode(writer.finish()).revision).toBe(42);
  });
});

describe('generated messages', () => {
  const call = fc.record({
    number: safe,
    timeoutMs: uint32,
    call: fc.oneof(
      fc
        .record({ key: bytes, value: bytes, lease: safe, returnPrevious: fc.boolean(), requestId: bytes })
        .map((value) => ({
          $case: 'set' as const,
          value,
        })),
      fc
        .record({
          key: bytes,
          end: fc.option(bytes, { nil: undefined }),
          returnPrevious: fc.boolean(),
          requestId: bytes,
        })
        .map((value) => ({ $case: 'delete' as const, value })),
      safe.map((revision) => ({ $case: 'compact' as const, value: { revision } })),
    ),
  });

  test('PipelineRequest.decode() gives back what was encoded', () => {
    fc.assert(
      fc.property(fc.array(call, { maxLength: 5 }), (calls) => {
        const decoded = PipelineRequest.decode(PipelineRequest.encode({ calls }).finish());
        expect(plain(decoded)).toEqual(plain({ calls }));
      }),
      { numRuns: 200 },
    );
  });

  test('PipelineRequest.decode() reads random bytes, or throws WireError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          PipelineRequest.decode(input);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('PipelineRequest.decode() reads damaged messages, or throws WireError', () => {
    fc.assert(
      fc.property(
        fc.array(call, { minLength: 1, maxLength: 3 }),
        fc.nat(),
        fc.nat({ max: 255 }),
        (calls, at, value) => {
          const message = PipelineRequest.encode({ calls }).finish();
          message[at % message.length] = value;
          try {
            PipelineRequest.decode(message);
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('PipelineRequest.decode() throws when a nested message runs over its end', () => {
    // A call of one byte whose only field says that five bytes follow.
    expect(() => PipelineRequest.decode(Buffer.from([0x0a, 0x02, 0x1a, 0x05, 1, 2, 3, 4, 5]))).toThrow(WireError);
    expect(() => PipelineRequest.decode(Buffer.from([0x0a, 0x01, 0x00]))).toThrow('number 0');
    expect(() => PipelineRequest.decode(Buffer.from([0x0a, 0x02, 0x1a, 0x02, 0x0a, 0x00]))).toThrow('ends at');
  });
});

/** Without the classes of byte fields and without fields that are undefined. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, each: unknown) =>
      each instanceof Uint8Array || (each as { type?: string } | null)?.type === 'Buffer' ? toHex(each) : each,
    ),
  );
}

function toHex(each: unknown): string {
  return Buffer.from(each instanceof Uint8Array ? each : (each as { data: number[] }).data).toString('hex');
}
