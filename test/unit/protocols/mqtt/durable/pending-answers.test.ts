/** The order of acknowledgements that wait for the disk. */
import { describe, expect, it } from 'vitest';
import { type PendingAnswer, PendingAnswers } from '../../../../../src/protocols/mqtt/durable/pending-answers.ts';

function collector(): { readonly pending: PendingAnswers; readonly written: string[] } {
  const written: string[] = [];
  const pending: PendingAnswers = new PendingAnswers(
    ({ type, ids, count, failures }: PendingAnswer) => {
      const texts = Array.from(ids.subarray(0, count), (id, at) => `${id}${failures?.has(at) === true ? '!' : ''}`);
      written.push(`${type}: ${texts.join(' ')}`);
    },
    (answer, error, count) => pending.tell(answer, error === null ? 0 : 0x83, count),
  );
  return { pending, written };
}

describe('PendingAnswers', () => {
  it('tell() writes a run when all of it was told, and what is complete behind it', () => {
    const { pending, written } = collector();
    const first = pending.add(4, Uint16Array.of(1, 2, 9), 2, 0, 0);
    pending.add(4, Uint16Array.of(3), 1, 1, 0);
    const last = pending.add(5, Uint16Array.of(4), 1, 0, 0);
    pending.flush();
    expect(pending.count).toBe(4);
    pending.tell(first, 0);
    expect(written).toEqual([]);
    pending.tell(first, 0x83);
    expect(written).toEqual(['4: 1 2!', '4: 3']);
    pending.tell(last, 0);
    expect(written.at(-1)).toBe('5: 4');
    expect(pending.isEmpty).toBe(true);
    expect(pending.count).toBe(0);
  });

  it('tell() takes several at a time, as a run is told whose messages went in two batches', () => {
    const { pending, written } = collector();
    const answer = pending.add(4, Uint16Array.of(1, 2, 3, 4), 4, 0, 0);
    answer.onStored(null, 0, 1);
    answer.onStored(new Error('full'), -1, 2);
    expect(written).toEqual([]);
    answer.onStored(null, 3, 1);
    expect(written).toEqual(['4: 1 2! 3! 4']);
  });

  it('uses answers that were written again, with nothing of what they were', () => {
    const { pending, written } = collector();
    for (const count of [3, 1, 2]) {
      const answer = pending.add(4, Uint16Array.of(1, 2, 3), count, 0, 0);
      answer.holds += 1;
      pending.tell(answer, count === 3 ? 0x83 : 0, count);
      pending.release(answer, 0);
    }
    expect(written).toEqual(['4: 1! 2! 3!', '4: 1', '4: 1 2']);
    expect([pending.count, pending.isEmpty]).toEqual([0, true]);
  });

  it('add() copies the identifiers, and takes what is refused already', () => {
    const { pending, written } = collector();
    const ids = Uint16Array.of(7, 8);
    pending.add(4, ids, 2, 2, 0x87);
    ids.fill(0);
    pending.flush();
    expect(written).toEqual(['4: 7! 8!']);
  });

  it('clear() tells nobody any more', () => {
    const { pending, written } = collector();
    const answer = pending.add(4, Uint16Array.of(1), 1, 0, 0);
    pending.clear();
    pending.tell(answer, 0);
    expect(written).toEqual([]);
    expect(pending.isEmpty).toBe(true);
  });
});
