import { describe, expect, it } from 'vitest';
import { createLateness, LatenessReader, LatenessWriter } from '../../../src/shm/lateness.ts';

const ms = 1_000_000n;
const start = 5_000n * ms;

function pair(): { writer: LatenessWriter; reader: LatenessReader } {
  const buffer = createLateness(2);
  return { writer: new LatenessWriter(buffer, 1, 100), reader: new LatenessReader(buffer, 100) };
}

describe('LatenessReader', () => {
  it('of() is 0 for a worker that has said nothing, and for one in time', () => {
    const { writer, reader } = pair();
    expect(reader.of(1, start)).toBe(0);
    writer.tick(start);
    writer.tick(start + 100n * ms);
    expect(reader.of(1, start + 150n * ms)).toBe(0);
    expect(reader.of(0, start)).toBe(0);
  });

  it('of() shows a late tick, and forgets it by halves', () => {
    const { writer, reader } = pair();
    writer.tick(start);
    writer.tick(start + 900n * ms);
    expect(reader.of(1, start + 900n * ms)).toBe(800);
    writer.tick(start + 1_000n * ms);
    expect(reader.of(1, start + 1_000n * ms)).toBe(400);
  });

  it('of() shows a loop that stands still, and reset() forgets it', () => {
    const { writer, reader } = pair();
    writer.tick(start);
    expect(reader.of(1, start + 3_100n * ms)).toBe(3_000);
    reader.reset(1);
    expect(reader.of(1, start + 3_100n * ms)).toBe(0);
  });
});
