/**
 * Mutated packets against every decoder, for a few seconds. What they must do with any bytes: not throw, not look past
 * the frame, stay inside it with every offset, and accept nothing that `mqtt-packet` cannot read. A failure names its seed.
 */
import { type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { Acknowledgement, decodeAcknowledgement } from '../../../../src/protocols/mqtt/codec/acknowledgements.ts';
import { frameLength, type ProtocolLevel } from '../../../../src/protocols/mqtt/codec/frame.ts';
import { decodePublish, PublishView } from '../../../../src/protocols/mqtt/codec/publish.ts';
import { PublishRewrite, rewrite, rewrittenSize } from '../../../../src/protocols/mqtt/codec/publish-rewrite.ts';
import { parsePacket } from '../../../../src/protocols/mqtt/packets/parse.ts';
import { malformedAcknowledgements, validAcknowledgements } from '../../../golden/mqtt/acknowledgements.ts';
import { malformedConnects, validConnects } from '../../../golden/mqtt/connect.ts';
import { malformedControls, validControls } from '../../../golden/mqtt/control.ts';
import { malformedPublishes, validPublishes } from '../../../golden/mqtt/publish.ts';
import { malformedSubscribes, validSubscribes } from '../../../golden/mqtt/subscribe.ts';
import { bytes } from '../../../golden/mqtt/vector.ts';

const TIME_MS = 2_500;
const LEVELS: readonly ProtocolLevel[] = [3, 4, 5];

const corpus = [
  ...[...validConnects, ...validSubscribes, ...validControls, ...validPublishes, ...validAcknowledgements],
  ...[...malformedConnects, ...malformedSubscribes, ...malformedControls],
  ...[...malformedPublishes, ...malformedAcknowledgements],
].map((vector) => bytes(vector.hex));

type PublishDecoder = typeof decodePublish;

/** Numbers in [0, below) from a seed (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}

function mutate(random: (below: number) => number): Buffer {
  let frame = Buffer.from(corpus[random(corpus.length)] as Buffer);
  for (let count = random(4); count >= 0 && frame.length > 0; count--) {
    const position = random(frame.length);
    switch (random(6)) {
      case 0:
        frame[position] = random(256);
        break;
      case 1:
        frame[position] = frame[position] ^ (1 << random(8));
        break;
      case 2:
        frame = Buffer.concat([frame.subarray(0, position), frame.subarray(position + 1 + random(4))]);
        break;
      case 3: {
        const other = corpus[random(corpus.length)] as Buffer;
        frame = Buffer.concat([frame.subarray(0, position), other.subarray(random(other.length))]);
        break;
      }
      case 4:
        frame = Buffer.concat([frame.subarray(0, position), frame.subarray(random(position + 1))]);
        break;
      default:
        frame[position] = (frame[position] + (random(2) === 0 ? 1 : 255)) & 0xff;
    }
  }
  // Most mutants get a length that agrees, or nothing behind the fixed header would ever be looked at.
  if (frame.length >= 2 && frame.length < 130 && random(8) > 0) frame[1] = frame.length - 2;
  return frame;
}

function oracle(frame: Buffer, level: number): Packet | null {
  let result: Packet | null = null;
  let failed = false;
  const decoder = parser({ protocolVersion: level });
  decoder.on('packet', (packet) => {
    result = packet;
  });
  decoder.on('error', () => {
    failed = true;
  });
  decoder.parse(Buffer.from(frame));
  return failed ? null : result;
}

const views = [new PublishView(), new PublishView()] as const;
const acknowledgements = [new Acknowledgement(), new Acknowledgement()] as const;
const options = new PublishRewrite();

function checkPublish(frame: Buffer, level: ProtocolLevel, decoder: PublishDecoder): void {
  // The same frame before zeros and before ones: what lies behind it must not matter.
  const before = Buffer.concat([frame, Buffer.alloc(80, 0x00)]);
  const after = Buffer.concat([frame, Buffer.alloc(80, 0xff)]);
  const codes = [
    decoder(before, 0, frame.length, level, views[0]),
    decoder(after, 0, frame.length, level, views[1]),
  ] as const;
  expect(codes[1]).toBe(codes[0]);
  if (codes[0] !== 0) return;
  const view = views[0];
  expect(views[1]).toEqual(view);
  expect(view.topicStart + view.topicLength).toBeLessThanOrEqual(view.payloadStart);
  expect(view.propertiesStart + view.propertiesLength).toBe(view.payloadStart);
  expect(view.payloadStart + view.payloadLength).toBe(frame.length);
  const read = oracle(frame, level);
  expect(read).toMatchObject({ cmd: 'publish', qos: view.qos });
  const payload = frame.subarray(view.payloadStart, view.payloadStart + view.payloadLength);
  expect((read as { payload?: unknown }).payload).toEqual(payload);
  checkRewrite(frame, payload, view, level);
}

function checkRewrite(frame: Buffer, payload: Buffer, view: PublishView, level: ProtocolLevel): void {
  options.level = level === 5 ? 4 : 5;
  options.topicAlias = view.topicLength === 0 ? 1 : 0;
  if (view.topicLength === 0) options.level = 5;
  const target = Buffer.alloc(rewrittenSize(view, options));
  expect(rewrite(target, 0, frame, view, options)).toBe(target.length);
  expect(oracle(target, options.level)).toMatchObject({ cmd: 'publish', qos: 0, payload });
}

function checkAcknowledgement(frame: Buffer, level: ProtocolLevel): void {
  const codes = [0x00, 0xff].map((fill, index) => {
    const buffer = Buffer.concat([frame, Buffer.alloc(80, fill)]);
    const result = acknowledgements[index] as Acknowledgement;
    return decodeAcknowledgement(buffer, 0, frame.length, level, result);
  });
  expect(codes[1]).toBe(codes[0]);
  if (codes[0] !== 0) return;
  expect(acknowledgements[1]).toEqual(acknowledgements[0]);
  // The oracle knows no DUP on PUBREL, which 3.1 allows.
  if ((frame[0] & 0x0f) !== 0x0a) expect(oracle(frame, level)?.messageId).toBe(acknowledgements[0].packetId);
}

function checkRare(frame: Buffer, level: ProtocolLevel): boolean {
  const result = parsePacket(frame, level);
  if (result.packet !== undefined) return true;
  expect(result.reasonCode).toBeGreaterThanOrEqual(0x80);
  // What the decoder behind our checks would say: it must not get to see what it refuses.
  expect(result.reason).not.toContain('decoder');
  return false;
}

function check(frame: Buffer, level: ProtocolLevel, decoder: PublishDecoder = decodePublish): boolean {
  const accepted = checkRare(frame, level);
  if (frameLength(frame, 0, frame.length) !== frame.length) return false;
  const type = frame[0] >> 4;
  if (type === 3) checkPublish(frame, level, decoder);
  else if (type >= 4 && type <= 7) checkAcknowledgement(frame, level);
  return accepted;
}

describe('mutated packets', () => {
  it('parsePacket(), decodePublish() and decodeAcknowledgement() stand any bytes', () => {
    const firstSeed = Date.now() | 0;
    const end = performance.now() + TIME_MS;
    let count = 0;
    let accepted = 0;
    for (let seed = firstSeed; performance.now() < end; seed++) {
      const frame = mutate(randomFrom(seed));
      for (const level of LEVELS) {
        try {
          if (check(frame, level)) accepted++;
        } catch (error) {
          throw new Error(`Seed ${seed}, level ${level}, frame ${frame.toString('hex')}`, { cause: error });
        }
      }
      count++;
    }
    // Where nothing is accepted the mutants are too wild to reach anything.
    expect(count).toBeGreaterThan(10);
    expect(accepted).toBeGreaterThan(0);
  });

  it('the checks find a decoder that looks past its frame, as their canary', () => {
    const pastTheEnd: PublishDecoder = (buffer, start, end, level, view) =>
      decodePublish(buffer, start, end, level, view) + (buffer[end] === 0 ? 0 : 1);
    const frame = bytes('30 04 0001 "a" "x"');
    expect(check(frame, 4)).toBe(false);
    expect(() => check(frame, 4, pastTheEnd)).toThrow();
  });

  it('the checks find a decoder that accepts what the oracle refuses, as their canary', () => {
    const credulous: PublishDecoder = (buffer, start, end, level, view) => {
      decodePublish(buffer, start, end, level, view);
      return 0;
    };
    expect(() => check(bytes('36 05 0001 "a" 0001'), 4, credulous)).toThrow();
  });
});
