import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Operation, Revision, WatchBatch, Watcher, WatchRequest } from '../../../../src/core/ports/placement.ts';
import { limits, watcherEventsMax, watcherLagMax } from '../../../../src/raft/placement/limits.ts';
import { bytes, PlacementMachine, remove, set, show, textOf } from '../../../support/placement-machine.ts';

/** Writes down what it is told; while `isHolding`, every batch waits until `release`. */
class Recorder implements Watcher {
  readonly batches: WatchBatch[] = [];
  end: string | null = null;
  compactedRevision: Revision = -1;
  isHolding = false;
  private waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];

  onBatch(batch: WatchBatch): void | Promise<void> {
    expect(this.end).toBeNull();
    expect(this.waiting).toEqual([]);
    this.batches.push(batch);
    if (!this.isHolding) return undefined;
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  onEnd(reason: { readonly code: string; readonly compactedRevision: Revision }): void {
    this.end = reason.code;
    this.compactedRevision = reason.compactedRevision;
  }

  async release(error: Error | null = null): Promise<void> {
    const { waiting } = this;
    this.waiting = [];
    for (const { resolve, reject } of waiting) {
      if (error === null) resolve();
      else reject(error);
    }
    await Promise.resolve();
    await Promise.resolve();
  }

  /** All events, as `revision type key=value`. */
  get events(): string[] {
    return this.batches.flatMap(({ events }) =>
      events.map(({ type, item, previous }) => {
        const before = previous === null ? '' : ` was ${textOf(previous.value)}`;
        return `${item.modRevision} ${type} ${textOf(item.key)}=${textOf(item.value)}${before}`;
      }),
    );
  }
}

function request(key: string, end: string | null = null, fields: Partial<WatchRequest> = {}): WatchRequest {
  const range = { key: bytes(key), end: end === null ? null : bytes(end) };
  return { ...range, fromRevision: 0, withPrevious: false, ...fields };
}

function watching(machine: PlacementMachine, wanted: WatchRequest): Recorder {
  const recorder = new Recorder();
  machine.state.watch(wanted, recorder);
  return recorder;
}

describe('watches', () => {
  it('watch() tells of one key, a prefix or everything, from now on', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', 'old'));
    const one = watching(machine, request('a'));
    const some = watching(machine, request('b', 'c'));
    const all = watching(machine, request('\x01', ''));
    machine.write(set('a', '1'), set('b', '1'), set('bb', '1'), set('c', '1'));
    machine.write(remove('b', 'c'));
    expect(all.batches).toEqual([]);
    machine.runDeferred();
    expect(one.events).toEqual(['2 set a=1']);
    expect(some.events).toEqual(['2 set b=1', '2 set bb=1', '3 delete b=', '3 delete bb=']);
    expect(all.events).toHaveLength(6);
    expect(all.batches.at(-1)!.revision).toBe(3);
  });

  it('watch() tells what a delete leaves: the key and the revision', () => {
    const machine = new PlacementMachine();
    machine.write(set('a', '1'));
    const recorder = watching(machine, request('a', null, { withPrevious: true }));
    machine.write(remove('a'));
    machine.runDeferred();
    const [{ item, previous }] = recorder.batches[0].events;
    expect(show(item)).toBe('a=@0/2/0');
    expect(show(previous!)).toBe('a=1@1/1/1');
  });

  it('watch() from a revision reads the change log and goes on live, without gap or repetition', () => {
    const machine = new PlacementMachine();
    for (let index = 1; index <= 600; index++) {
      machine.write(set(index % 2 === 0 ? 'even' : 'odd', `${index}`));
      if (index === 300) machine.flush();
    }
    const recorder = watching(machine, request('even', null, { fromRevision: 101, withPrevious: true }));
    machine.write(set('even', '601'));
    machine.runDeferred();
    machine.write(set('even', '602'));
    machine.runDeferred();
    const expected = [];
    for (let index = 102; index <= 600; index += 2) expected.push(`${index} set even=${index} was ${index - 2}`);
    expected.push('601 set even=601 was 600', '602 set even=602 was 601');
    expect(recorder.events).toEqual(expected);
    const revisions = recorder.batches.map(({ revision }) => revision);
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
    expect(revisions.at(-1)).toBe(602);
  });

  it('watch() never gives a part of a revision', () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('k', 'l'));
    for (let round = 0; round < 30; round++) {
      machine.write(...Array.from({ length: 100 }, (_, index) => set(`k${index}`, `${round}`)));
    }
    machine.runDeferred();
    const counts = new Map<number, Set<number>>();
    recorder.batches.forEach(({ events }, batch) => {
      for (const { item } of events) {
        counts.set(item.modRevision, (counts.get(item.modRevision) ?? new Set()).add(batch));
      }
    });
    expect(counts.size).toBe(30);
    expect([...counts.values()].every((batches) => batches.size === 1)).toBe(true);
    expect(recorder.events).toHaveLength(3_000);
    expect(recorder.batches.length).toBeGreaterThan(1);
  });

  it('watch() from a compacted revision ends with COMPACTED, from the one after it begins', () => {
    const machine = new PlacementMachine();
    for (let index = 0; index < limits.revisionsKept + 50; index++) machine.write(set('a', `${index}`));
    machine.run({ type: 'compact', revision: 50 });
    machine.flush();
    const late = watching(machine, request('a', null, { fromRevision: 50 }));
    const fine = watching(machine, request('a', null, { fromRevision: 51, withPrevious: true }));
    machine.runDeferred();
    expect([late.end, late.compactedRevision, late.batches]).toEqual(['COMPACTED', 50, []]);
    expect(fine.end).toBeNull();
    // What was there before is compacted, and left out.
    expect(fine.events.slice(0, 2)).toEqual(['51 set a=50', '52 set a=51 was 50']);
    expect(fine.events).toHaveLength(limits.revisionsKept);
  });

  it('watch() from a later revision waits for it', () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('a', null, { fromRevision: 3 }));
    for (const value of ['1', '2', '3']) machine.write(set('a', value));
    machine.runDeferred();
    expect(recorder.events).toEqual(['3 set a=3']);
  });

  it('watch() refuses keys that are not for users, unless asked by RingMQ itself', () => {
    const machine = new PlacementMachine();
    const empty = watching(machine, request(''));
    const reserved = watching(machine, request('\0'));
    const records = watching(machine, request('\0', '\x01', { scope: 'records' }));
    expect(empty.end).toBeNull();
    machine.run({ type: 'node-register', node: 'n1', addresses: [], roles: [], rack: '', ttlMs: 1_000 });
    machine.runDeferred();
    expect([empty.end, reserved.end, records.end]).toEqual(['EMPTY_KEY', 'RESERVED_KEY', null]);
    expect(records.batches).toHaveLength(1);
    expect(machine.state.watchCount).toBe(1);
  });

  it('cancel() ends it without a word', () => {
    const machine = new PlacementMachine();
    const recorder = new Recorder();
    const { cancel } = machine.state.watch(request('a'), recorder);
    machine.write(set('a', '1'));
    cancel();
    cancel();
    machine.runDeferred();
    expect(recorder.batches).toEqual([]);
    expect(machine.state.watchCount).toBe(0);
  });

  it('onBatch() is not called again before its promise is kept', async () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('a'));
    recorder.isHolding = true;
    machine.write(set('a', '1'));
    machine.runDeferred();
    machine.write(set('a', '2'));
    machine.write(set('a', '3'));
    machine.runDeferred();
    expect(recorder.events).toEqual(['1 set a=1']);
    await recorder.release();
    machine.runDeferred();
    expect(recorder.events).toEqual(['1 set a=1', '2 set a=2', '3 set a=3']);
  });

  it('a watcher that was slow for a while misses nothing', async () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('a'));
    recorder.isHolding = true;
    const count = watcherEventsMax * 3;
    for (let index = 1; index <= count; index++) {
      machine.write(set('a', `${index}`));
      if (index % 500 === 0) machine.runDeferred();
      if (index === count / 2) machine.flush();
    }
    for (let turn = 0; turn < 100; turn++) {
      await recorder.release();
      machine.runDeferred();
    }
    expect(recorder.events).toEqual(Array.from({ length: count }, (_, index) => `${index + 1} set a=${index + 1}`));
  });

  it('a watcher that is too slow is ended with SLOW_WATCHER', () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('a'));
    recorder.isHolding = true;
    machine.write(set('a', '1'));
    machine.runDeferred();
    for (let index = 0; index < watcherLagMax; index++) machine.write(set('b', ''));
    machine.runDeferred();
    expect(recorder.end).toBeNull();
    for (let index = 0; index < 1_000; index++) machine.write(set('b', ''));
    machine.runDeferred();
    expect(recorder.end).toBe('SLOW_WATCHER');
    expect(machine.state.watchCount).toBe(0);
  });

  it('a watcher whose promise breaks is gone', async () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('a'));
    recorder.isHolding = true;
    machine.write(set('a', '1'));
    machine.runDeferred();
    await recorder.release(new Error('connection lost'));
    expect(machine.state.watchCount).toBe(0);
  });

  it('watchProgress() tells idle watchers the revision, and others nothing', () => {
    const machine = new PlacementMachine();
    const idle = watching(machine, request('a'));
    machine.write(set('b', '1'));
    machine.state.watchProgress();
    machine.state.watchProgress();
    expect(idle.batches).toEqual([{ revision: 1, events: [] }]);
    machine.write(set('a', '1'));
    machine.state.watchProgress();
    machine.runDeferred();
    expect(idle.batches.slice(1).map(({ revision, events }) => [revision, events.length])).toEqual([[2, 1]]);
  });

  it('endWatches() tells everybody', () => {
    const machine = new PlacementMachine();
    const recorder = watching(machine, request('a'));
    machine.state.endWatches('STOPPED');
    expect(recorder.end).toBe('STOPPED');
  });

  it('every watcher hears exactly what happened to its keys, in any mixture of speeds', async () => {
    const key = fc.constantFrom('a', 'b', 'ba', 'c');
    const write = fc.uniqueArray(key, { minLength: 1, maxLength: 3 });
    const watch = fc.record({ key, end: fc.constantFrom(null, '', 'c'), from: fc.nat(8), isHolding: fc.boolean() });
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ type: fc.constant('write' as const), keys: write }) },
      { weight: 1, arbitrary: fc.record({ type: fc.constant('watch' as const), watch }) },
      {
        weight: 2,
        arbitrary: fc.constantFrom({ type: 'run' as const }, { type: 'release' as const }, { type: 'flush' as const }),
      },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
        const machine = new PlacementMachine();
        const history: string[] = [];
        const watches: { recorder: Recorder; from: number; covers: (key: string) => boolean }[] = [];
        for (const each of steps) {
          if (each.type === 'write') {
            const revision = machine.state.revision + 1;
            const operations: Operation[] = each.keys.map((name) => set(name, `${revision}`));
            machine.write(...operations);
            for (const name of each.keys) history.push(`${revision} set ${name}=${revision}`);
          } else if (each.type === 'watch') {
            const { key: low, end, from, isHolding } = each.watch;
            const recorder = watching(machine, request(low, end, { fromRevision: from }));
            recorder.isHolding = isHolding;
            const covers = (name: string) => (end === null ? name === low : name >= low && (end === '' || name < end));
            watches.push({ recorder, from: from === 0 ? machine.state.revision + 1 : from, covers });
          } else if (each.type === 'run') {
            machine.runDeferred();
          } else if (each.type === 'flush') {
            machine.flush();
          } else {
            for (const { recorder } of watches) await recorder.release();
          }
        }
        for (let turn = 0; turn < 50; turn++) {
          for (const { recorder } of watches) await recorder.release();
          machine.runDeferred();
        }
        for (const { recorder, from, covers } of watches) {
          const expected = history.filter((line) => {
            const [revision, , assignment] = line.split(' ');
            return Number(revision) >= from && covers(assignment.split('=')[0]);
          });
          expect(recorder.events).toEqual(expected);
        }
      }),
      { numRuns: 100, interruptAfterTimeLimit: 4_000 },
    );
  });
});
