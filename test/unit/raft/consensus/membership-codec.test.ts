import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeMembershipChange,
  encodeMembershipChange,
  parseMembershipChange,
} from '../../../../src/raft/consensus/membership-codec.ts';

describe('membership codec', () => {
  it('encodeMembershipChange() does give the stored bytes', () => {
    const bytes = encodeMembershipChange({
      changes: [
        { action: 'add-voter', replica: 1 },
        { action: 'remove', replica: Number.MAX_SAFE_INTEGER },
      ],
      context: Uint8Array.of(0xaa, 0xbb),
    });
    expect(Buffer.from(bytes).toString('hex')).toBe('010002' + '000000000000000001' + '02001fffffffffffff' + 'aabb');
  });

  it('decodeMembershipChange() does read what was written', () => {
    const anyChange = fc.record({
      action: fc.constantFrom('add-voter' as const, 'add-learner' as const, 'remove' as const),
      replica: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    });
    fc.assert(
      fc.property(fc.array(anyChange), fc.uint8Array({ maxLength: 40 }), (changes, context) => {
        const decoded = decodeMembershipChange(encodeMembershipChange({ changes, context }));
        expect(decoded.changes).toEqual(changes);
        expect([...decoded.context]).toEqual([...context]);
      }),
    );
  });

  it('parseMembershipChange() does refuse every truncation of the head, and what it does not know', () => {
    const bytes = encodeMembershipChange({ changes: [{ action: 'remove', replica: 5 }], context: new Uint8Array(0) });
    for (let length = 0; length < bytes.length; length++) {
      expect(parseMembershipChange(bytes.subarray(0, length))).toBe(null);
    }
    expect(parseMembershipChange(bytes.with(0, 2))).toBe(null);
    expect(parseMembershipChange(bytes.with(3, 3))).toBe(null);
    expect(parseMembershipChange(bytes.with(4, 0xff))).toBe(null);
    expect(parseMembershipChange(bytes.with(11, 0))).toBe(null);
    expect(() => decodeMembershipChange(Uint8Array.of())).toThrow('can be read');
  });

  it('parseMembershipChange() does survive any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => void parseMembershipChange(bytes)));
  });
});
