import { generate } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { decodePublish, PublishView } from '../../../../../src/protocols/mqtt/codec/publish.ts';
import { compileKey } from '../../../../../src/protocols/mqtt/streams/record-key.ts';

function keyOf(text: string, payload = '{}', properties: object = {}, clientId: string | null = 'c1'): string | null {
  const packet = { cmd: 'publish', topic: 't', payload, qos: 0, retain: false, dup: false, properties };
  const buffer = generate(packet as never, { protocolVersion: 5 });
  const view = new PublishView();
  decodePublish(buffer, 0, buffer.length, 5, view);
  const key = compileKey(text);
  if (key === null) throw new Error(`Cannot compile ${text}`);
  const bytes = key({ topicBytes: Buffer.from('t'), clientId, user: 'u1', buffer, view });
  return bytes === null ? null : Buffer.from(bytes).toString();
}

describe('compileKey()', () => {
  it('takes client id, user and topic', () => {
    expect([keyOf('clientid'), keyOf('user'), keyOf('topic'), keyOf('none')]).toEqual(['c1', 'u1', 't', null]);
    expect(keyOf('clientid', '{}', {}, null)).toBeNull();
  });

  it('takes the first user property of the name', () => {
    expect(keyOf('property.k', '{}', { userProperties: { a: 'x', k: ['1', '2'] } })).toBe('1');
    expect(keyOf('property.k')).toBeNull();
  });

  it('takes a value out of a JSON payload', () => {
    const payload = '{"device":{"id":"d7","n":3,"ok":true,"list":[{"id":9}],"none":null}}';
    expect(keyOf('payload.device.id', payload)).toBe('d7');
    expect(keyOf('payload.device.n', payload)).toBe('3');
    expect(keyOf('payload.device.ok', payload)).toBe('true');
    expect(keyOf('payload.device.list.0.id', payload)).toBe('9');
  });

  it.each([
    '{"a":1}',
    'no json',
    '',
    '[]',
    'null',
    '"x"',
    '{"device":null}',
    `{"device":{"id":"${'x'.repeat(2_000)}"}}`,
  ])('has no key when the payload is %.20s', (payload) => {
    expect(keyOf('payload.device.id', payload)).toBeNull();
  });

  it('does not look at what an object inherits', () => {
    expect(keyOf('payload.constructor.name', '{"a":1}')).toBeNull();
    expect(keyOf('payload.__proto__.x', '{"__proto__":{"x":"own"}}')).toBe('own');
  });

  it.each(['', 'client', 'property.', 'payload.', 'payload.a..b', `payload.${'a.'.repeat(20)}a`])(
    'refuses %j',
    (text) => {
      expect(compileKey(text)).toBeNull();
    },
  );
});
