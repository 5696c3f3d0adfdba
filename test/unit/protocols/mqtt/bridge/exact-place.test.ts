// Identifiers of QoS 2 messages by their place, and what of them is kept beside it.
import { expect, it } from 'vitest';
import {
  exactIdOf,
  exactIdsWithout,
  exactWindowMax,
  isExactId,
  OtherIds,
  releases,
} from '../../../../../src/protocols/mqtt/bridge/exact-ids.ts';
import { decodeExactPlace, encodeExactPlace } from '../../../../../src/protocols/mqtt/bridge/exact-place.ts';

it('decodeExactPlace() reads what encodeExactPlace() writes, behind the place', () => {
  const place = 2 ** 40 + 3;
  const received = [place, place + 7, place + 8, place + 200];
  const text = encodeExactPlace({ window: 256, server: 2 ** 32 - 1, received: [place - 1, ...received] }, place);
  expect(decodeExactPlace(text, place)).toEqual({ window: 256, server: 2 ** 32 - 1, received });
  expect(decodeExactPlace(encodeExactPlace({ window: 1, server: 0, received: [] }, 9), 9)).toEqual({
    window: 1,
    server: 0,
    received: [],
  });
});

it('encodeExactPlace() fits the metadata of a cursor with the largest window', () => {
  const received = Array.from({ length: exactWindowMax }, (_, index) => index);
  expect(encodeExactPlace({ window: exactWindowMax, server: 2 ** 32 - 1, received }, 0).length).toBeLessThan(4_096);
});

it('decodeExactPlace() answers null for anything else', () => {
  for (const text of ['', 'x1', 'x2 1 1 ', 'x1 1 1 *', 'x1 a 1 ', 'x1 1 1  ', 'somebody else'])
    expect(decodeExactPlace(text, 0)).toBeNull();
});

it('exactIdOf() is the same for the same place, and in the upper half', () => {
  expect([exactIdOf(0), exactIdOf(32_767), exactIdOf(32_768), exactIdOf(2 ** 40)]).toEqual([
    32_768, 65_535, 32_768, 32_768,
  ]);
  const others = new OtherIds();
  for (let index = 0; index < 70_000; index += 1) {
    const id = others.allocate();
    if (id < 1 || isExactId(id)) throw new Error(`${id} is none of the others`);
  }
});

it('exactIdsWithout() leaves out those of a range, across the end of the identifiers too', () => {
  const left = exactIdsWithout(32_766, 32_770);
  expect([left.length, left.includes(65_534), left.includes(32_769), left.includes(32_770)]).toEqual([
    32_764,
    false,
    false,
    true,
  ]);
  expect(exactIdsWithout(5, 3)).toHaveLength(32_768);
  expect(releases([32_768, 65_535])).toEqual(Buffer.from([0x62, 2, 0x80, 0, 0x62, 2, 0xff, 0xff]));
});
