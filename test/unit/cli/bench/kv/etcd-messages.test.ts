import { describe, expect, test } from 'vitest';
import { encodePut, encodeRange, hasFound } from '../../../../../src/cli/bench/kv/etcd-messages.ts';

describe('etcd messages', () => {
  test('encodePut() writes key and value when the value needs two bytes of length', () => {
    const message = encodePut(Buffer.from('k'), Buffer.alloc(200, 9));
    expect([...message.subarray(0, 6)]).toEqual([0x0a, 1, 0x6b, 0x12, 0xc8, 0x01]);
    expect(message.length).toBe(206);
  });

  test('encodeRange() asks for a serializable read when told to', () => {
    expect([...encodeRange(Buffer.from('k'), false)]).toEqual([0x0a, 1, 0x6b]);
    expect([...encodeRange(Buffer.from('k'), true)]).toEqual([0x0a, 1, 0x6b, 0x38, 1]);
  });

  test('hasFound() skips fields of every kind when they stand before the pair', () => {
    const others = [0x20, 0xff, 0x01, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x35, 1, 2, 3, 4];
    expect(hasFound(Buffer.from([0x0a, 2, 0, 0, ...others]))).toBe(false);
    expect(hasFound(Buffer.from([0x0a, 2, 0, 0, ...others, 0x12, 0]))).toBe(true);
    expect(hasFound(Buffer.alloc(0))).toBe(false);
  });

  test('hasFound() throws when the bytes are no message', () => {
    expect(() => hasFound(Buffer.from([0x80]))).toThrow(/ends inside a number/);
    expect(() => hasFound(Buffer.from([0x0b]))).toThrow(/wire type 3/);
  });
});
