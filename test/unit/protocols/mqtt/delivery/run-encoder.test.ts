/** Every encoding that receivers can need of every run, with `mqtt-packet` as the oracle. */
import { describe, expect, it } from 'vitest';
import { Run } from '../../../../../src/core/broker/run.ts';
import { decodePublish, PublishView } from '../../../../../src/protocols/mqtt/codec/publish.ts';
import { RunEncoder } from '../../../../../src/protocols/mqtt/delivery/run-encoder.ts';
import {
  fillRunWithFrame,
  fillRunWithView,
  splitRun,
} from '../../../../../src/protocols/mqtt/delivery/run-of-frame.ts';
import { type AnyPacket, decodeAll, encode } from '../../../../support/mqtt/mqtt-host.ts';

const propertySets: readonly (Record<string, unknown> | undefined)[] = [
  undefined,
  { messageExpiryInterval: 60 },
  { contentType: 'text/plain', payloadFormatIndicator: true, messageExpiryInterval: 0xffffffff },
  {
    userProperties: { key: ['a', 'b'], long: 'x'.repeat(20_000) },
    responseTopic: 'r',
    correlationData: Buffer.from([1]),
  },
];

interface Source {
  readonly layout: 4 | 5;
  readonly qos: number;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: Record<string, unknown> | undefined;
  /** Lengths of the payloads. */
  readonly lengths: readonly number[];
}

let sequence = 0;

/** The run as the publishing handler makes it: first frame described, lengths uniform or not. */
function runOf({ layout, qos, retain, dup, properties, lengths }: Source): Run {
  const frames = lengths.map((length, index) =>
    encode(
      {
        cmd: 'publish',
        topic: 'some/topic',
        payload: `${index}`.padEnd(length, '.'),
        qos,
        retain,
        dup,
        messageId: index + 1,
        properties,
      },
      layout,
    ),
  );
  const buffer = Buffer.concat([Buffer.from('before'), ...frames, Buffer.from('after')]);
  const run = new Run();
  const view = new PublishView();
  expect(decodePublish(buffer, 6, 6 + frames[0].length, layout, view)).toBe(0);
  fillRunWithView(run, buffer, layout, view);
  run.end = buffer.length - 5;
  run.count = frames.length;
  run.detailB = frames.every((frame) => frame.length === frames[0].length) ? frames[0].length : 0;
  run.sequence = ++sequence;
  return run;
}

function expected(source: Source, layout: 4 | 5, qos: number, retain: number): Partial<AnyPacket>[] {
  const properties = layout === 5 && source.layout === 5 ? source.properties : undefined;
  return source.lengths.map((length, index) => ({
    topic: 'some/topic',
    payload: `${index}`.padEnd(length, '.'),
    qos,
    retain: retain === 1,
    dup: false,
    properties: properties === undefined ? undefined : { ...properties },
  }));
}

const shapes = [[3], [5, 5, 5], [0, 200, 5], [130, 100, 16_500, 0]];
const sources: Source[] = [];
for (const layout of [4, 5] as const)
  for (const qos of [0, 1, 2])
    for (const retain of [false, true])
      for (const dup of qos > 0 ? [false, true] : [false])
        for (const properties of layout === 5 ? propertySets : [undefined])
          for (const lengths of shapes) sources.push({ layout, qos, retain, dup, properties, lengths });

describe('variant()', () => {
  it('is right for all layouts, QoS, retain flags, properties and lengths', () => {
    const encoder = new RunEncoder();
    let verbatim = 0;
    let variants = 0;
    for (const source of sources) {
      const run = runOf(source);
      for (const layout of [4, 5] as const)
        for (let qos = 0; qos <= source.qos; qos++)
          for (const retain of [0, 1]) {
            const variant = encoder.variant(run, layout, qos, retain);
            expect(encoder.variant(run, layout, qos, retain)).toBe(variant);
            if (variant.buffer === run.buffer) verbatim++;
            variants++;
            const bytes = Buffer.from(variant.buffer.subarray(variant.start, variant.end));
            if (qos > 0 && variant.frameBytes > 0) {
              for (let index = 0; index < run.count; index++)
                bytes.writeUInt16BE(500 + index, index * variant.frameBytes + variant.idOffset);
            }
            const packets = decodeAll(bytes, layout);
            expect(
              packets.map(({ topic, payload, qos: each, retain: flag, dup, properties }) => ({
                topic,
                payload: String(payload),
                qos: each,
                retain: flag,
                dup,
                properties: plain(properties),
              })),
            ).toEqual(
              expected(source, layout, qos, retain).map((each) => ({ ...each, properties: plain(each.properties) })),
            );
            const sizes = packets.map((packet) => frameSize(packet));
            expect(variant.frameBytesMax).toBe(Math.max(...sizes));
            expect(variant.frameBytes).toBe(new Set(sizes).size === 1 ? sizes[0] : 0);
            if (qos > 0 && variant.frameBytes > 0)
              expect(packets.map(({ messageId }) => messageId)).toEqual(packets.map((_, index) => 500 + index));
          }
    }
    expect(variants).toBeGreaterThan(1_000);
    expect(verbatim).toBeGreaterThan(30);
  });

  it('makes each encoding once per run', () => {
    const encoder = new RunEncoder();
    const run = runOf({ layout: 5, qos: 1, retain: false, dup: false, properties: undefined, lengths: [5, 5] });
    const first = encoder.variant(run, 4, 0, 0);
    first.buffer[first.start] = 0xff;
    expect(encoder.variant(run, 4, 0, 0).buffer[first.start]).toBe(0xff);
    run.sequence = ++sequence;
    expect(encoder.variant(run, 4, 0, 0).buffer[first.start]).toBe(0x30);
  });

  it('is right with properties whose length takes four bytes', () => {
    const encoder = new RunEncoder();
    const long = Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`${index}`, 'x'.repeat(65_000)]));
    const run = runOf({
      layout: 5,
      qos: 2,
      retain: false,
      dup: false,
      properties: { userProperties: long },
      lengths: [4],
    });
    const variant = encoder.variant(run, 5, 1, 0);
    variant.buffer.writeUInt16BE(777, variant.start + variant.idOffset);
    const [packet] = decodeAll(variant.buffer.subarray(variant.start, variant.end), 5);
    expect(packet).toMatchObject({ topic: 'some/topic', messageId: 777 });
    expect(String(packet.payload)).toBe('0...');
  });
});

describe('keep()', () => {
  it('copies the bytes of a run once', () => {
    const encoder = new RunEncoder();
    const run = runOf({ layout: 4, qos: 1, retain: false, dup: false, properties: undefined, lengths: [5] });
    const kept = encoder.keep(run);
    expect(encoder.keep(run)).toBe(kept);
    expect(kept.equals(run.buffer.subarray(run.start, run.end))).toBe(true);
    run.buffer.fill(0);
    expect(decodeAll(kept, 4)[0].topic).toBe('some/topic');
    run.sequence = ++sequence;
    expect(encoder.keep(run)).not.toBe(kept);
  });
});

describe('splitRun()', () => {
  it('describes each publication as a run of its own', () => {
    const encoder = new RunEncoder();
    for (const source of sources) {
      const run = runOf(source);
      const part = new Run();
      const seen: string[] = [];
      splitRun(run, part, () => {
        expect(part).toMatchObject({ count: 1, detailB: part.end - part.start, layout: run.layout });
        const variant = encoder.variant(part, source.layout, source.qos, 0);
        const bytes = Buffer.from(variant.buffer.subarray(variant.start, variant.end));
        if (source.qos > 0) bytes.writeUInt16BE(321, variant.idOffset);
        const [packet] = decodeAll(bytes, source.layout);
        expect(packet.topic).toBe('some/topic');
        if (source.qos > 0) expect(packet.messageId).toBe(321);
        seen.push(String(packet.payload));
      });
      expect(seen).toEqual(source.lengths.map((length, index) => `${index}`.padEnd(length, '.')));
    }
  });
});

describe('fillRunWithFrame()', () => {
  it('describes a frame that stands alone', () => {
    const frame = encode(
      {
        cmd: 'publish',
        topic: 'will',
        payload: 'gone',
        qos: 1,
        retain: true,
        dup: false,
        messageId: 1,
        properties: { messageExpiryInterval: 5 },
      },
      5,
    );
    const run = new Run();
    fillRunWithFrame(run, frame, 5);
    expect(run).toMatchObject({
      layout: 5,
      start: 0,
      end: frame.length,
      count: 1,
      detailA: 3,
      detailB: frame.length,
      detailC: 8,
      detailD: 1,
    });
  });
});

function plain(properties: unknown): unknown {
  return properties === undefined ? undefined : JSON.parse(JSON.stringify(properties));
}

/** Length of the whole frame; `length` of the oracle is the remaining length. */
function frameSize({ length }: AnyPacket): number {
  const remaining = length as number;
  return 1 + (remaining < 0x80 ? 1 : remaining < 0x4000 ? 2 : remaining < 0x200000 ? 3 : 4) + remaining;
}
