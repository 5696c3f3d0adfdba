import mqttPacket from 'mqtt-packet';
import { describe, expect, test } from 'vitest';
import {
  bodyStart,
  encodeConnect,
  encodePublish,
  encodeSubscribe,
  frameLength,
  readConnackLimits,
  skipProperties,
} from '../../../../src/cli/bench/wire.ts';

/** What mqtt-packet, the oracle, reads from `bytes`. */
function parse(bytes: Buffer, version: number): mqttPacket.Packet {
  const found: mqttPacket.Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion: version });
  parser.on('packet', (packet) => found.push(packet));
  parser.on('error', (error) => {
    throw error;
  });
  parser.parse(bytes);
  expect(found).toHaveLength(1);
  return found[0];
}

describe.each([4, 5] as const)('encoders of version %i', (version) => {
  test('encodeConnect() writes what mqtt-packet reads', () => {
    const fields = { version, clientId: 'c1', username: 'me', password: 'secret', keepAliveS: 300 };
    expect(parse(encodeConnect(fields), version)).toMatchObject({
      cmd: 'connect',
      clientId: 'c1',
      username: 'me',
      password: Buffer.from('secret'),
      keepalive: 300,
      clean: true,
      protocolVersion: version,
    });
  });

  test('encodeSubscribe() writes what mqtt-packet reads', () => {
    expect(parse(encodeSubscribe(version, 7, 'a/#', 2), version)).toMatchObject({
      cmd: 'subscribe',
      messageId: 7,
      subscriptions: [{ topic: 'a/#', qos: 2 }],
    });
  });

  test.each([0, 1, 2])('encodePublish() writes what mqtt-packet reads with QoS %i', (qos) => {
    for (const size of [0, 64, 200, 20_000]) {
      const template = encodePublish(version, 't/1', qos, size);
      expect(template.bytes.length - template.payloadOffset).toBe(size);
      if (qos > 0) template.bytes.writeUInt16BE(258, template.packetIdOffset);
      const packet = parse(template.bytes, version);
      expect(packet).toMatchObject({ cmd: 'publish', topic: 't/1', qos, payload: Buffer.alloc(size, 'x') });
      if (qos > 0) expect(packet.messageId).toBe(258);
    }
  });
});

describe('readers', () => {
  test('frameLength() tells the length of a frame, 0 before it can', () => {
    const { bytes } = encodePublish(4, 't', 0, 300);
    expect(frameLength(bytes, 0, 1)).toBe(0);
    expect(frameLength(bytes, 0, 2)).toBe(0);
    expect(frameLength(bytes, 0, 3)).toBe(bytes.length);
    expect(bodyStart(bytes, 0)).toBe(3);
    expect(() => frameLength(Buffer.from([0x30, 255, 255, 255, 255, 1]), 0, 6)).toThrow('more than four bytes');
  });

  test('readConnackLimits() finds the limits among all other properties', () => {
    const properties = {
      sessionExpiryInterval: 9,
      receiveMaximum: 33,
      maximumQoS: 1,
      retainAvailable: true,
      maximumPacketSize: 100_000,
      assignedClientIdentifier: 'x'.repeat(150),
      topicAliasMaximum: 5,
      reasonString: 'fine',
      userProperties: { a: 'b', c: ['d', 'e'] },
      serverKeepAlive: 30,
    };
    const bytes = mqttPacket.generate(
      { cmd: 'connack', sessionPresent: false, reasonCode: 0, properties },
      { protocolVersion: 5 },
    );
    expect(readConnackLimits(bytes, bodyStart(bytes, 0), bytes.length)).toEqual({
      receiveMaximum: 33,
      maximumQos: 1,
      maximumPacketSize: 100_000,
    });
  });

  test('skipProperties() passes lengths of one and two bytes', () => {
    expect(skipProperties(Buffer.from([0]), 0)).toBe(1);
    expect(skipProperties(Buffer.from([0x80, 1]), 0)).toBe(130);
  });
});
