/** What is kept with a stored session: wills, identities, subscriptions. */
import { describe, expect, it } from 'vitest';
import {
  decodeIdentity,
  decodeWill,
  encodeIdentity,
  encodeWill,
  expiryMsOf,
} from '../../../../../src/protocols/mqtt/durable/kept-content.ts';
import type { Will } from '../../../../../src/protocols/mqtt/packets/types.ts';

const will: Will = {
  topic: 'a/b',
  payload: Buffer.from([0, 255, 1]),
  qos: 2,
  retain: true,
  delayS: 7,
  properties: { expiryS: 9, correlationData: Buffer.from([1, 2]), userProperties: [['k', 'v']], contentType: 'x' },
};

describe('encodeWill()', () => {
  it('keeps everything that decodeWill() gives back', () => {
    const encoded = encodeWill(will);
    expect(encoded?.delayMs).toBe(7000);
    expect(encoded === null ? null : decodeWill(encoded)).toEqual(will);
    expect(encodeWill(null)).toBeNull();
  });

  it('leaves nothing that decodeWill() would take when it is damaged', () => {
    for (const text of ['', '{', 'null', '[]', '{"topic":1}', '{"topic":"a","payload":"","retain":true,"qos":3}'])
      expect(decodeWill({ delayMs: 0, content: Buffer.from(text) })).toBeNull();
  });
});

describe('encodeIdentity()', () => {
  it('keeps what decodeIdentity() gives back', () => {
    const identity = {
      tenant: 'default',
      user: 'u',
      clientId: 'c',
      address: '127.0.0.1',
      isSuperuser: false,
      groups: ['g'],
      mechanism: 'password',
      certificateName: '',
      isLocal: true,
    };
    expect(decodeIdentity(encodeIdentity(identity))).toEqual(identity);
    const bound = { ...identity, needsAccount: true };
    expect(decodeIdentity(encodeIdentity(bound))).toEqual(bound);
    expect(decodeIdentity(null)).toBeNull();
    expect(decodeIdentity(Buffer.from('{"user":"u"}'))).toBeNull();
    expect(decodeIdentity(Buffer.from('nonsense'))).toBeNull();
  });
});

describe('expiryMsOf()', () => {
  it('knows what never ends', () => {
    expect(expiryMsOf(0xffffffff)).toBe(-1);
    expect(expiryMsOf(3)).toBe(3000);
  });
});
