/**
 * The MQTT codec: what one message costs to read, to acknowledge and to write anew. Run by the benchmark command of this
 * folder; nothing here judges time.
 *
 * Each task handles a batch, as the broker does with the frames of one received chunk; a sample is the batch.
 */
import { Bench } from 'tinybench';
import {
  ACKNOWLEDGEMENT_SIZE_MAX,
  Acknowledgement,
  decodeAcknowledgement,
  writeAcknowledgement,
} from '../src/protocols/mqtt/codec/acknowledgements.ts';
import { frameLength, PacketType, type ProtocolLevel } from '../src/protocols/mqtt/codec/frame.ts';
import { decodePublish, PublishView } from '../src/protocols/mqtt/codec/publish.ts';
import { PublishRewrite, rewrite, rewrittenSize } from '../src/protocols/mqtt/codec/publish-rewrite.ts';
import { generatePublish } from '../src/protocols/mqtt/packets/generate.ts';
import { parsePacket } from '../src/protocols/mqtt/packets/parse.ts';
import type { MessageProperties } from '../src/protocols/mqtt/packets/types.ts';
import { isWellFormedUtf8 } from '../src/std/utf8.ts';

/** Messages in a batch: about what one read of a busy socket holds. */
const BATCH = 1_000;
const PAYLOAD_BYTES = 64;
const TOPIC = 'site/7/machine/42/temperature';

const properties: MessageProperties = {
  payloadFormat: 1,
  expiryS: 60,
  contentType: 'application/json',
  userProperties: [['trace', '4bf92f3577b34da6']],
};

function frames(qos: 0 | 1, level: ProtocolLevel, withProperties: boolean): Buffer {
  const payload = Buffer.alloc(PAYLOAD_BYTES, 0x61);
  const fields = { topic: TOPIC, payload, qos, retain: false, packetId: 7 };
  const frame = generatePublish(withProperties ? { ...fields, properties } : fields, level);
  return Buffer.concat(new Array<Buffer>(BATCH).fill(frame));
}

/** Reads every PUBLISH of `chunk`; answers a number that depends on all of them, so that nothing is optimised away. */
function readAll(chunk: Buffer, level: ProtocolLevel, view: PublishView): number {
  let position = 0;
  let sum = 0;
  while (position < chunk.length) {
    const end = position + frameLength(chunk, position, chunk.length);
    sum += decodePublish(chunk, position, end, level, view) + view.payloadLength;
    position = end;
  }
  return sum;
}

function rewriteAll(target: Buffer, source: Buffer, view: PublishView, options: PublishRewrite): number {
  let position = 0;
  for (let count = 0; count < BATCH; count++) {
    if (position + rewrittenSize(view, options) > target.length) position = 0;
    position = rewrite(target, position, source, view, options);
  }
  return position;
}

function acknowledgeAll(target: Buffer, result: Acknowledgement): number {
  let position = 0;
  for (let packetId = 1; packetId <= BATCH; packetId++) {
    const end = writeAcknowledgement(target, position, PacketType.PUBACK, packetId, 0, 5);
    decodeAcknowledgement(target, position, end, 5, result);
    position = end;
  }
  return position;
}

export default async function codecBench(options: { smoke: boolean }): Promise<Bench> {
  const bench = new Bench({
    name: 'mqtt codec',
    ...(options.smoke ? { time: 1, iterations: 2, warmup: false } : { time: 500 }),
  });
  const view = new PublishView();
  let sink = 0;

  const shapes = [
    ['level 4, QoS 0', frames(0, 4, false), 4],
    ['level 4, QoS 1', frames(1, 4, false), 4],
    ['level 5, QoS 0, no properties', frames(0, 5, false), 5],
    ['level 5, QoS 1, four properties', frames(1, 5, true), 5],
  ] as const;
  for (const [name, chunk, level] of shapes) {
    bench.add(`decodePublish x${BATCH}: ${name}`, () => {
      sink += readAll(chunk, level, view);
    });
  }

  const target = Buffer.alloc(256 * 1024);
  const source = frames(1, 5, true);
  const sourceView = new PublishView();
  decodePublish(source, 0, frameLength(source, 0, source.length), 5, sourceView);
  const toLevel4 = new PublishRewrite();
  const toLevel5 = Object.assign(new PublishRewrite(), {
    level: 5,
    qos: 1,
    packetId: 9,
    expiryS: 59,
    subscriptionIdentifiers: [7, 300],
  });
  bench.add(`rewrite x${BATCH}: level 5 to level 4`, () => {
    sink += rewriteAll(target, source, sourceView, toLevel4);
  });
  bench.add(`rewrite x${BATCH}: level 5 to level 5, expiry and two subscription identifiers`, () => {
    sink += rewriteAll(target, source, sourceView, toLevel5);
  });

  const acknowledgements = Buffer.alloc(BATCH * ACKNOWLEDGEMENT_SIZE_MAX);
  const result = new Acknowledgement();
  bench.add(`writeAcknowledgement and decodeAcknowledgement x${BATCH}`, () => {
    sink += acknowledgeAll(acknowledgements, result);
  });

  const text = Buffer.from(TOPIC);
  bench.add(`isWellFormedUtf8 x${BATCH}: a topic of ${TOPIC.length} bytes`, () => {
    for (let count = 0; count < BATCH; count++) sink += isWellFormedUtf8(text, 0, text.length, true) ? 1 : 0;
  });

  const subscribe = Buffer.from('82100001000b736974652f372f232f2b2b01', 'hex');
  subscribe[1] = subscribe.length - 2;
  bench.add('parsePacket: SUBSCRIBE', () => {
    sink += parsePacket(subscribe, 4).packet === undefined ? 0 : 1;
  });

  bench.addEventListener('complete', () => {
    if (sink === 0) throw new Error('Cannot trust the run: nothing was computed');
  });
  return bench;
}
