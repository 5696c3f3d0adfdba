import fc from 'fast-check';
import type { IConnectPacket, ISubscribePacket } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { frameLength, type ProtocolLevel } from '../../../../../src/protocols/mqtt/codec/frame.ts';
import { USER_PROPERTIES_MAX } from '../../../../../src/protocols/mqtt/codec/properties.ts';
import { encode } from '../../../../../src/protocols/mqtt/packets/mqtt-packet.ts';
import { parsePacket } from '../../../../../src/protocols/mqtt/packets/parse.ts';
import { malformedConnects, validConnects } from '../../../../golden/mqtt/connect.ts';
import { malformedControls, validControls } from '../../../../golden/mqtt/control.ts';
import { malformedSubscribes, validSubscribes } from '../../../../golden/mqtt/subscribe.ts';
import { bytes } from '../../../../golden/mqtt/vector.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((value) => !value.includes('\0'));

describe('parsePacket()', () => {
  for (const { name, level, hex, packet } of [...validConnects, ...validSubscribes, ...validControls]) {
    it(`parsePacket() reads ${name}`, () => {
      expect(parsePacket(bytes(hex), level)).toEqual({ packet });
    });
  }

  for (const vector of [...malformedConnects, ...malformedSubscribes, ...malformedControls]) {
    it(`parsePacket() rejects ${vector.name}`, () => {
      const frame = bytes(vector.hex);
      expect(frameLength(frame, 0, frame.length)).toBe(frame.length);
      const result = parsePacket(frame, vector.level);
      expect(result).toMatchObject({
        reasonCode: vector.reasonCode,
        returnCode: vector.returnCode ?? -1,
        reason: expect.stringContaining(vector.reason ?? ''),
      });
      if (result.packet === undefined) expect(result.level).toBe(vector.answerLevel);
    });
  }

  it('parsePacket() leaves the received bytes alone and keeps no view of them', () => {
    for (const { hex, level, packet } of [...validConnects, ...validControls]) {
      const frame = bytes(hex);
      const result = parsePacket(frame, level);
      expect(frame).toEqual(bytes(hex));
      frame.fill(0xee);
      expect(result).toEqual({ packet });
    }
  });

  it('parsePacket() rejects every packet that is cut at any byte', () => {
    for (const { hex, level } of [...validConnects, ...validSubscribes, ...validControls]) {
      const frame = bytes(hex);
      for (let end = 0; end < frame.length; end++) {
        expect(parsePacket(frame.subarray(0, end), level).packet).toBeUndefined();
      }
    }
  });

  it('parsePacket() never throws when the fields are cut and the length agrees', () => {
    for (const { hex, level } of [...validConnects, ...validSubscribes, ...validControls]) {
      const frame = bytes(hex);
      if (frame[1] > 0x7f) continue;
      for (let end = 2; end < frame.length; end++) {
        const cut = Buffer.from(frame.subarray(0, end));
        cut[1] = end - 2;
        const result = parsePacket(cut, level);
        // No message of the decoder behind our checks: whatever it refuses, we have refused before.
        if (result.packet === undefined) expect(result.reason).not.toContain('decoder');
      }
    }
  });

  it('parsePacket() reads what mqtt-packet writes of CONNECT', () => {
    const connects = fc.record({
      protocolVersion: fc.constantFrom<ProtocolLevel>(3, 4, 5),
      clientId: text.filter((value) => value.length > 0),
      clean: fc.boolean(),
      keepalive: fc.nat(65_535),
      username: text,
      password: fc.uint8Array({ maxLength: 30 }).map((value) => Buffer.from(value)),
    });
    fc.assert(
      fc.property(connects, (fields) => {
        const protocolId = fields.protocolVersion === 3 ? 'MQIsdp' : 'MQTT';
        const packet: IConnectPacket = { cmd: 'connect', protocolId, ...fields };
        const { protocolVersion: level, keepalive, ...same } = fields;
        const expected = { type: 1, level, keepAliveS: keepalive, userProperties: [], ...same };
        expect(parsePacket(encode(packet, level), 4)).toEqual({ packet: expected });
      }),
    );
  });

  it('parsePacket() reads what mqtt-packet writes of SUBSCRIBE', () => {
    const subscriptions = fc.record({
      topic: text,
      qos: fc.constantFrom<0 | 1 | 2>(0, 1, 2),
      nl: fc.boolean(),
      rap: fc.boolean(),
      rh: fc.constantFrom(0, 1, 2),
    });
    const lists = fc.array(subscriptions, { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(
        fc.constantFrom<ProtocolLevel>(3, 4, 5),
        fc.integer({ min: 1, max: 65_535 }),
        lists,
        (level, id, list) => {
          const packet: ISubscribePacket = { cmd: 'subscribe', messageId: id, subscriptions: list };
          const result = parsePacket(encode(packet, level), level);
          expect(result.packet).toMatchObject({
            packetId: id,
            subscriptions: list.map(({ topic, qos, nl, rap, rh }) => ({
              filter: topic,
              qos,
              noLocal: level === 5 && nl,
              retainAsPublished: level === 5 && rap,
              retainHandling: level === 5 ? rh : 0,
            })),
          });
        },
      ),
    );
  });

  it('parsePacket() refuses more user properties than the limit, with the quota', () => {
    const pair = '26 0001 "k" 0000';
    const body = (count: number) => Buffer.concat(new Array<Buffer>(count).fill(bytes(pair)));
    const properties = body(USER_PROPERTIES_MAX + 1);
    const head = bytes('0001');
    const length = Buffer.from([(properties.length & 0x7f) | 0x80, properties.length >> 7]);
    const rest = Buffer.concat([head, length, properties, bytes('0001 "a" 00')]);
    const frame = Buffer.concat([Buffer.from([0x82, (rest.length & 0x7f) | 0x80, rest.length >> 7]), rest]);
    expect(parsePacket(frame, 5)).toMatchObject({ reasonCode: 0x97 });
  });
});
