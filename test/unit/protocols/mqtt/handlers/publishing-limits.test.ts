/** PUBLISH at the edges: aliases that stand for long topics, identifiers that repeat, rings that are full. */
import { describe, expect, it } from 'vitest';
import { Publishing } from '../../../../../src/protocols/mqtt/handlers/publishing.ts';
import { encode, MqttHost } from '../../../../support/mqtt/mqtt-host.ts';

describe('onPublish()', () => {
  it('does not make short frames with an alias into endless memory', () => {
    const host = new MqttHost({}, Number.MAX_SAFE_INTEGER);
    const publisher = host.connect({ level: 5, clientId: 'publisher' });
    const counter = host.connect({ level: 5, clientId: 'counter', properties: { topicAliasMaximum: 1 } });
    counter.subscribe('#');
    const publish = (topic: string) =>
      encode(
        { cmd: 'publish', topic, payload: 'x', qos: 0, retain: false, dup: false, properties: { topicAlias: 1 } },
        5,
      );
    publisher.sendBytes(publish('t'.repeat(60_000)));
    publisher.sendBytes(Buffer.concat(Array.from({ length: 5_000 }, () => publish(''))));
    expect(counter.payloads().length).toBe(5_001);
    const { publishing } = host.worker as unknown as { publishing: { scratch: Buffer } };
    expect(publishing.scratch.length).toBeLessThan(1_048_576);
  });

  it('tells a repeated identifier of one run from others after 2^32 runs too', () => {
    const host = new MqttHost();
    const publisher = host.connect({ clientId: 'publisher' });
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('t');
    const { publishing } = host.worker as unknown as { publishing: { stamp: number } };
    expect(publishing).toBeInstanceOf(Publishing);
    for (const stamp of [0xfffffffe, 0xffffffff, 0]) {
      publishing.stamp = stamp;
      const frames = [1, 1, 2].map((messageId) =>
        encode(
          { cmd: 'publish', topic: 't', payload: `${messageId}`, qos: 2, retain: false, dup: false, messageId },
          4,
        ),
      );
      publisher.sendBytes(Buffer.concat(frames));
      publisher.sendBytes(Buffer.concat([1, 2].map((messageId) => encode({ cmd: 'pubrel', messageId }, 4))));
      expect(reader.payloads()).toEqual(['1', '2']);
    }
  });

  it('refuses an alias beyond the maximum, and one that was never defined', () => {
    for (const [alias, topic, reasonCode] of [
      [65, 't', 0x94],
      [64, 't', undefined],
      [3, '', 0x82],
    ] as const) {
      const host = new MqttHost();
      const client = host.connect({ level: 5, clientId: 'client' });
      client.publish(topic, 'x', { properties: { topicAlias: alias } });
      expect(client.take().map((packet) => packet.reasonCode)).toEqual(reasonCode === undefined ? [] : [reasonCode]);
    }
  });

  it('does not pass topics of the server on, and says so where it can', () => {
    const host = new MqttHost();
    const reader = host.connect({ clientId: 'reader' });
    reader.subscribe('$x/#');
    for (const level of [4, 5] as const) {
      const client = host.connect({ level, clientId: 'client' });
      for (const qos of [0, 1, 2]) client.publish('$x/y', 'x', { qos, messageId: qos + 1, retain: true });
      const answers = client.take().map(({ cmd, reasonCode }) => [cmd, reasonCode]);
      expect(answers.map(([cmd]) => cmd)).toEqual(['puback', 'pubrec']);
      if (level === 5) expect(answers.map(([, code]) => code)).toEqual([0x87, 0x87]);
    }
    expect(reader.take()).toEqual([]);
    expect(host.dropped('not-allowed')).toBe(6);
  });
});
