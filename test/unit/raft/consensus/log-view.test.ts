import { describe, expect, it } from 'vitest';
import { LogView } from '../../../../src/raft/consensus/log-view.ts';
import type { Entry } from '../../../../src/raft/consensus/types.ts';
import { MemoryLog } from '../../../support/consensus/memory-log.ts';
import { membershipOf, positionOf } from '../../../support/consensus/test-replica.ts';

const start = positionOf(0, 0, membershipOf([1]));
const limits = { committedBytesMax: 1_000, tailBytesMax: 10_000 };

/** Entries of the given terms from `first` on. */
function entries(first: number, ...terms: number[]): Entry[] {
  return terms.map((term, i) => ({ term, index: first + i, kind: 0, data: new Uint8Array(4) }));
}

function viewOf(log: MemoryLog, applied = 0, commit = applied): LogView {
  return new LogView(log, applied, commit, limits);
}

/** Hands out a round and writes it. */
function write(view: LogView, log: MemoryLog): number {
  const { number, entries: written, snapshot } = view.beginWrite(0);
  log.write({ entries: written, snapshot, hardState: null });
  return number;
}

const terms = (view: LogView) => Array.from({ length: view.lastIndex }, (_, i) => view.term(i + 1));

describe('LogView', () => {
  it('constructor does refuse a log that has lost entries', () => {
    const log = new MemoryLog(start, entries(1, 1, 1));
    expect(() => viewOf(log, 3)).toThrow('reaches the applied entry');
    expect(() => viewOf(log, 0, 3)).toThrow('reaches the committed entry');
    expect(() => viewOf(new MemoryLog(positionOf(5, 1, start.membership)), 4)).toThrow('begins where');
  });

  it('merge() does append, skip what is known, and replace what conflicts', () => {
    const log = new MemoryLog(start, entries(1, 1, 1));
    const view = viewOf(log);
    expect(view.merge(2, 1, entries(3, 2, 2))).toBe(4);
    expect(view.merge(1, 1, entries(2, 1, 2))).toBe(3);
    expect(terms(view)).toEqual([1, 1, 2, 2]);
    expect(view.merge(1, 1, entries(2, 3))).toBe(2);
    expect(terms(view)).toEqual([1, 3]);
    expect(view.lastTerm).toBe(3);
    expect(view.merge(2, 1, [])).toBe(null);
    expect(view.merge(9, 1, [])).toBe(null);
  });

  it('merge() does refuse to replace what is committed', () => {
    const view = viewOf(new MemoryLog(start, entries(1, 1, 1)), 0, 2);
    expect(() => view.merge(0, 0, entries(1, 2))).toThrow('committed entry is never replaced');
  });

  it('beginWrite() does hand out every entry once, and again what was replaced', () => {
    const log = new MemoryLog(start);
    const view = viewOf(log);
    view.append(entries(1, 1, 1, 1));
    expect(view.hasUnwritten()).toBe(true);
    expect(view.beginWrite(0).entries).toHaveLength(3);
    expect(view.hasUnwritten()).toBe(false);
    view.merge(1, 1, entries(2, 2));
    expect(view.beginWrite(0).entries).toEqual(entries(2, 2));
  });

  it('finishWrite() does not count entries that were replaced since', () => {
    const log = new MemoryLog(start);
    const view = viewOf(log);
    view.append(entries(1, 1, 1, 1));
    const first = write(view, log);
    view.merge(1, 1, entries(2, 2, 2));
    const second = write(view, log);
    view.finishWrite(first);
    expect(view.durable).toBe(1);
    view.finishWrite(second);
    expect(view.durable).toBe(3);
  });

  it('durable does fall when durable entries are replaced', () => {
    const log = new MemoryLog(start, entries(1, 1, 1, 1));
    const view = viewOf(log);
    view.merge(1, 1, entries(2, 2));
    expect(view.durable).toBe(1);
  });

  it('entries() does read from memory and from disk, and says what was compacted', () => {
    const log = new MemoryLog(positionOf(2, 1, start.membership), entries(3, 1, 1));
    const view = viewOf(log, 2);
    view.append(entries(5, 2, 2));
    const indexes = (low: number, high: number, bytes = 1_000) =>
      view.entries(low, high, bytes)?.map((entry) => entry.index);
    expect(indexes(3, 7)).toEqual([3, 4]);
    expect(indexes(5, 7)).toEqual([5, 6]);
    expect(indexes(5, 7, 1)).toEqual([5]);
    expect(indexes(7, 7)).toEqual([]);
    expect(indexes(2, 7)).toBe(undefined);
    expect([view.term(1), view.term(2), view.term(7)]).toEqual([null, 1, null]);
  });

  it('takeCommitted() does page by bytes and wait for the state machine', () => {
    const log = new MemoryLog(start);
    const view = new LogView(log, 0, 0, { committedBytesMax: 80, tailBytesMax: 10_000 });
    view.append(entries(1, 1, 1, 1, 1, 1));
    view.commitTo(5);
    const take = () => view.takeCommitted(5).map((entry) => entry.index);
    expect(take()).toEqual([1, 2]);
    expect(take()).toEqual([3]);
    expect([take(), view.hasCommitted(5)]).toEqual([[], false]);
    view.appliedTo(2);
    expect(take()).toEqual([4]);
    view.appliedTo(4);
    expect(take()).toEqual([5]);
    expect(() => view.appliedTo(6)).toThrow('handed out');
  });

  it('takeCommitted() does read again what left the memory unapplied', () => {
    const log = new MemoryLog(start);
    const view = new LogView(log, 0, 0, { committedBytesMax: 100_000, tailBytesMax: 100 });
    view.append(entries(1, ...new Array<number>(50).fill(1)));
    view.finishWrite(write(view, log));
    view.append(entries(51, 1));
    view.commitTo(51);
    const taken = [...view.takeCommitted(51), ...view.takeCommitted(51)];
    expect(taken.map((entry) => entry.index)).toEqual(Array.from({ length: 51 }, (_, i) => i + 1));
  });

  it('lastNotAbove() does find where two logs may agree', () => {
    const view = viewOf(new MemoryLog(start, entries(1, 1, 1, 3, 3, 5)));
    expect(view.lastNotAbove(4, 5, 0)).toEqual({ index: 4, term: 3 });
    expect(view.lastNotAbove(2, 9, 0)).toEqual({ index: 2, term: 1 });
    expect(view.lastNotAbove(2, 5, 3)).toEqual({ index: 3, term: 3 });
    expect(view.lastNotAbove(0, 5, 0)).toEqual({ index: 0, term: 0 });
  });

  it('restore() does replace the log, and becomes durable with its round', () => {
    const log = new MemoryLog(start, entries(1, 1, 1, 1));
    const view = viewOf(log, 1);
    const position = positionOf(9, 4, start.membership);
    view.restore(position);
    expect([view.firstIndex, view.lastIndex, view.lastTerm, view.commit, view.applied]).toEqual([10, 9, 4, 9, 9]);
    expect([view.term(9), view.term(3), view.isRestoring, view.snapshotPosition()]).toEqual([4, null, true, null]);
    view.merge(9, 4, entries(10, 4));
    const round = view.beginWrite(0);
    expect([round.snapshot, round.entries]).toEqual([position, entries(10, 4)]);
    expect(view.beginWrite(0).snapshot).toBe(null);
    log.write({ ...round, hardState: null });
    view.finishWrite(round.number);
    expect([view.isRestoring, view.durable, view.term(9), view.firstIndex]).toEqual([false, 10, 4, 10]);
  });

  it('restore() does not let an older round count for the new log', () => {
    const log = new MemoryLog(start);
    const view = viewOf(log);
    view.append(entries(1, 1, 1, 1));
    const first = write(view, log);
    view.restore(positionOf(2, 2, start.membership));
    const second = write(view, log);
    view.merge(2, 2, entries(3, 2));
    view.finishWrite(first);
    expect(view.durable).toBe(0);
    view.finishWrite(second);
    expect(view.durable).toBe(2);
  });

  it('restore() does refuse to take back what is committed', () => {
    const view = viewOf(new MemoryLog(start, entries(1, 1, 1)), 0, 2);
    expect(() => view.restore(positionOf(2, 2, start.membership))).toThrow('never takes back');
  });

  it('skipTo() does keep the log behind the position', () => {
    const view = viewOf(new MemoryLog(start, entries(1, 1, 1, 1)));
    view.skipTo(2);
    expect([view.commit, view.applied, view.lastIndex]).toEqual([2, 2, 3]);
    view.commitTo(3);
    expect(view.takeCommitted(3).map((entry) => entry.index)).toEqual([3]);
  });
});
