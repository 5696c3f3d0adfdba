import { expect, it } from 'vitest';
import { joined } from '../../../src/std/joined.ts';

it('joined() tells the first error at the last call', () => {
  const told: (Error | null)[] = [];
  const sound = joined(2, (error) => told.push(error));
  sound(null);
  expect(told).toEqual([]);
  sound(null);
  const first = new Error('first');
  const broken = joined(3, (error) => told.push(error));
  broken(null);
  broken(first);
  broken(new Error('second'));
  expect(told).toEqual([null, first]);
});
