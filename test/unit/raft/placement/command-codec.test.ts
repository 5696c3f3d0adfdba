import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  commandTags,
  decodeProposal,
  encodeProposal,
  type GroupCommand,
  type Proposal,
} from '../../../../src/raft/placement/command-codec.ts';
import { MalformedError } from '../../../../src/raft/placement/errors.ts';
import { anyCommand, anyProposal } from '../../../support/placement-commands.ts';

/** Byte strings of either kind compare as plain arrays. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, each: unknown) => {
      if (each instanceof Uint8Array) return [...each];
      return Object.is(each, -0) || (typeof each === 'number' && !Number.isFinite(each)) ? `${each as number}` : each;
    }),
  );
}

const compact: Proposal = { origin: 1, sequence: 2, requestId: null, command: { type: 'compact', revision: 3 } };

describe('command codec', () => {
  it('decodeProposal() gives back what encodeProposal() was given, for every command', () => {
    expect(Object.keys(anyCommand)).toEqual(Object.keys(commandTags));
    fc.assert(
      fc.property(anyProposal, (given) => {
        expect(plain(decodeProposal(encodeProposal(given)))).toEqual(plain(given));
      }),
      { numRuns: 500 },
    );
  });

  it('encodeProposal() gives the same bytes for the same proposal', () => {
    fc.assert(
      fc.property(anyProposal, (given) => {
        expect(Buffer.compare(encodeProposal(given), encodeProposal(given))).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  it('encodeProposal() keeps the bytes that are stored in logs', () => {
    const command: GroupCommand = {
      type: 'transaction',
      compares: [{ key: Buffer.from('k'), target: 'mod-revision', relation: 'less', operand: 300 }],
      success: [{ type: 'set', key: Buffer.from('k'), value: Buffer.from('v'), lease: 9, returnPrevious: true }],
      failure: [{ type: 'delete', key: Buffer.from('a'), end: Buffer.from('b'), returnPrevious: false }],
    };
    const requestId = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
    const encoded = Buffer.from(encodeProposal({ origin: 5, sequence: 1_000, requestId, command })).toString('hex');
    expect(encoded).toBe(
      `0101${'05'}${'e807'}000102030405060708090a0b0c0d0e0f01${'01'}0303016bac02${'01'}0101016b017609${'01'}020201610162`,
    );
  });

  it('decodeProposal() throws MalformedError for a version or command that it does not know', () => {
    const encoded = encodeProposal(compact);
    const newer = Uint8Array.from(encoded);
    newer[0] = 2;
    expect(() => decodeProposal(newer)).toThrow(MalformedError);
    const unknown = Uint8Array.from(encoded);
    unknown[4] = 200;
    expect(() => decodeProposal(unknown)).toThrow(MalformedError);
  });

  it('decodeProposal() throws MalformedError for any cut, longer or damaged bytes, or decodes something', () => {
    fc.assert(
      fc.property(anyProposal, fc.nat(), fc.nat(255), (given, place, change) => {
        const encoded = encodeProposal(given);
        expect(() => decodeProposal(encoded.subarray(0, place % encoded.length))).toThrow(MalformedError);
        expect(() => decodeProposal(Buffer.concat([encoded, Buffer.from([0])]))).toThrow(MalformedError);
        const damaged = Uint8Array.from(encoded);
        damaged[place % encoded.length] ^= change;
        try {
          decodeProposal(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('encodeProposal() refuses what it cannot carry and works afterwards', () => {
    const wrong: GroupCommand[] = [
      { type: 'compact', revision: -1 },
      { type: 'compact', revision: 1.5 },
      { type: 'compact', revision: 2 ** 53 },
      { type: 'node-expire', node: '\ud800', epoch: 1 },
    ];
    for (const command of wrong) {
      expect(() => encodeProposal({ ...compact, command })).toThrow(RangeError);
    }
    expect(() => encodeProposal({ ...compact, requestId: Buffer.alloc(15) })).toThrow(RangeError);
    expect(plain(decodeProposal(encodeProposal(compact)))).toEqual(plain(compact));
  });
});
