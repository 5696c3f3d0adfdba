import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  generateAuth,
  generateConnack,
  generateDisconnect,
  generatePingresp,
  generatePublish,
  generateSuback,
  generateUnsuback,
} from '../../../../../src/protocols/mqtt/packets/generate.ts';
import { decode } from '../../../../../src/protocols/mqtt/packets/mqtt-packet.ts';
import type { UserProperties } from '../../../../../src/protocols/mqtt/packets/types.ts';
import {
  auths,
  connacks,
  disconnects,
  PINGRESP_HEX,
  publishes,
  subacks,
  unsubacks,
} from '../../../../golden/mqtt/server.ts';
import { bytes, type GeneratedVector, type Level } from '../../../../golden/mqtt/vector.ts';

function golden<T>(symbol: string, vectors: readonly GeneratedVector<T>[], make: (fields: T, level: Level) => Buffer) {
  for (const { name, level, hex, fields } of vectors) {
    it(`${symbol}() writes ${name}`, () => {
      expect(make(fields, level)).toEqual(bytes(hex));
    });
  }
}

describe('generate…()', () => {
  golden('generateConnack', connacks, generateConnack);
  golden('generateSuback', subacks, generateSuback);
  golden('generateUnsuback', unsubacks, generateUnsuback);
  golden('generateDisconnect', disconnects, generateDisconnect);
  golden('generateAuth', auths, (fields) => generateAuth(fields));
  golden('generatePublish', publishes, generatePublish);

  it('generatePingresp() writes PINGRESP', () => {
    expect(generatePingresp()).toEqual(bytes(PINGRESP_HEX));
  });

  it('generateDisconnect() leaves out what it is told to', () => {
    const fields = { reasonCode: 0x97, reasonString: 'why', userProperties: [['k', 'v']] as const };
    const bare = generateDisconnect({ reasonCode: 0x97 }, 5);
    expect(generateDisconnect(fields, 5, { omitReasonString: true, omitUserProperties: true })).toEqual(bare);
    expect(generateDisconnect(fields, 5, { omitUserProperties: true })).toEqual(
      generateDisconnect({ reasonCode: 0x97, reasonString: 'why' }, 5),
    );
  });

  it('generateDisconnect() cuts a long reason string', () => {
    const frame = generateDisconnect({ reasonCode: 0x97, reasonString: 'é'.repeat(70_000) }, 5);
    expect(decode(frame, 5)).toMatchObject({ properties: { reasonString: 'é'.repeat(1_000) } });
  });

  it('generateConnack() keeps user properties in order with their duplicates', () => {
    const names = fc.constantFrom('b', 'a', '2', '1', '__proto__', 'constructor', 'toString', '');
    const pairs = fc.array(fc.tuple(names, fc.string({ maxLength: 3 })), { maxLength: 12 });
    fc.assert(
      fc.property(pairs, (userProperties: UserProperties) => {
        const frame = generateConnack({ sessionPresent: false, reasonCode: 0, userProperties }, 5);
        const expected = Buffer.concat(
          userProperties.map(([name, value]) => Buffer.concat([Buffer.of(0x26), field(name), field(value)])),
        );
        expect(frame.subarray(frame.length - expected.length)).toEqual(expected);
      }),
    );
  });
});

function field(value: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(Buffer.byteLength(value));
  return Buffer.concat([length, Buffer.from(value)]);
}
