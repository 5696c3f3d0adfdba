import { describe, expect, it } from 'vitest';
import { Acknowledgement, decodeAcknowledgement } from '../../../../src/protocols/mqtt/codec/acknowledgements.ts';
import { PacketType } from '../../../../src/protocols/mqtt/codec/frame.ts';
import { ReasonCode } from '../../../../src/protocols/mqtt/codec/reason-code.ts';
import {
  clientMayDisconnectWith,
  connackReturnCode,
  mayCarry,
  NO_RETURN_CODE,
  reasonCodes,
  reasonName,
} from '../../../../src/protocols/mqtt/errors.ts';

describe('reasonCodes', () => {
  it('reasonCodes has one row for each code', () => {
    const numbers = reasonCodes.map((row) => row.code);
    expect(new Set(numbers).size).toBe(numbers.length);
    expect([...numbers].sort()).toEqual(Object.values(ReasonCode).sort());
  });

  it('mayCarry() agrees with what the acknowledgement decoder accepts', () => {
    const result = new Acknowledgement();
    for (const type of [PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP]) {
      const flags = type === PacketType.PUBREL ? 2 : 0;
      for (let code = 0; code < 256; code++) {
        const frame = Buffer.from([(type << 4) | flags, 3, 0, 1, code]);
        const accepted = decodeAcknowledgement(frame, 0, frame.length, 5, result) === 0;
        expect(accepted, `type ${type}, code ${code}`).toBe(mayCarry(type, code));
      }
    }
  });

  it('clientMayDisconnectWith() allows only codes of DISCONNECT', () => {
    for (let code = 0; code < 256; code++) {
      if (clientMayDisconnectWith(code)) expect(mayCarry(PacketType.DISCONNECT, code)).toBe(true);
    }
    expect(clientMayDisconnectWith(ReasonCode.SESSION_TAKEN_OVER)).toBe(false);
  });

  it('connackReturnCode() maps to 0 to 5, or says that none fits', () => {
    expect(connackReturnCode(ReasonCode.SUCCESS)).toBe(0);
    expect(connackReturnCode(ReasonCode.NOT_AUTHORIZED)).toBe(5);
    expect(connackReturnCode(ReasonCode.MALFORMED_PACKET)).toBe(NO_RETURN_CODE);
    expect(connackReturnCode(0x7f)).toBe(NO_RETURN_CODE);
    for (const row of reasonCodes) {
      expect(row.returnCode).toBeLessThanOrEqual(5);
      // A code that no CONNACK carries has no return code either.
      if (!mayCarry(PacketType.CONNACK, row.code)) expect(row.returnCode, row.name).toBe(NO_RETURN_CODE);
    }
  });

  it('reasonName() names known codes and numbers unknown ones', () => {
    expect(reasonName(0x8e)).toBe('Session taken over');
    expect(reasonName(0x7f)).toBe('0x7f');
  });
});
