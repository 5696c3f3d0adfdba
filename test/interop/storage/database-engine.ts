/**
 * What the front counts on, asked of an engine over a database server itself: outcomes of single runs, and calls that arrive late. Part of the tests of
 * each of them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { EngineClaim, EngineHandle, EngineRun, StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { FaultLink } from '../../support/fault-proxy.ts';
import { codeOf } from '../../support/stream-batches.ts';
import type { TestSettings } from './database-adapter.ts';
import type { DatabaseBench } from './database-bench.ts';

let ids = 0;

function newId(): string {
  ids += 1;
  return `0-${ids}`;
}

/** Engines do not look into bytes, so any will do. */
function run(handle: EngineHandle, baseOffset: number, text: string, count = 1): EngineRun {
  const endOffset = baseOffset + count;
  return { handle, baseOffset, endOffset, maxTimestamp: 1000 + baseOffset, bytes: Buffer.from(text), batches: [] };
}

export function databaseEngine(bench: DatabaseBench): void {
  async function engineAt(place: string, changes: Partial<TestSettings> = {}): Promise<StoreEngine> {
    const engine = bench.engine(place, changes);
    await engine.open();
    onTestFinished(() => engine.close());
    return engine;
  }

  async function made(engine: StoreEngine, name: string): Promise<EngineClaim> {
    expect(await engine.create(name, newId(), {})).toBe('created');
    return await claimed(engine, name);
  }

  async function claimed(engine: StoreEngine, name: string): Promise<EngineClaim> {
    const claim = await engine.claim(name);
    if (claim === null) throw new Error(`Partition ${name} is not there`);
    return claim;
  }

  async function texts(engine: StoreEngine, handle: EngineHandle): Promise<string[]> {
    return (await engine.read(handle, 0, 1_000_000)).map(String);
  }

  describe('engine', () => {
    it('append() decides about each run of a call', async () => {
      const engine = await engineAt(bench.place());
      const handles: EngineHandle[] = [];
      for (const name of ['good', 'early', 'late', 'old', 'gone', 'fine'])
        handles.push((await made(engine, name)).handle);
      const [good, early, late, old, gone, fine] = handles;
      await engine.append([run(late, 0, 'there')]);
      await claimed(engine, 'old');
      await engine.remove('gone', gone.id);
      const runs = [
        run(good, 0, 'a'),
        run(early, 5, 'b'),
        run(late, 0, 'c'),
        run(old, 0, 'd'),
        run(gone, 0, 'e'),
        run(fine, 0, 'f'),
      ];
      const outcomes = ['stored', 'conflict', 'conflict', 'fenced', 'fenced', 'stored'];
      expect(await engine.append(runs)).toEqual(outcomes);
      expect(await texts(engine, good)).toEqual(['a']);
      expect(await texts(engine, early)).toEqual([]);
      expect(await texts(engine, late)).toEqual(['there']);
      expect(await texts(engine, old)).toEqual([]);
      expect(await texts(engine, fine)).toEqual(['f']);
      expect(await engine.places(good)).toEqual({ startOffset: 0, endOffset: 1, sizeBytes: 1 });
      expect(await engine.places(early)).toEqual({ startOffset: 0, endOffset: 0, sizeBytes: 0 });
    });

    it('append() stores runs of very many partitions in one call', async () => {
      const engine = await engineAt(bench.place());
      const handles: EngineHandle[] = [];
      for (let at = 0; at < 75; at += 1) handles.push((await made(engine, `p${at}`)).handle);
      const outcomes = await engine.append(handles.map((handle, at) => run(handle, 0, `value ${at}`)));
      expect(outcomes).toEqual(handles.map(() => 'stored'));
      for (const at of [0, 1, 31, 32, 63, 74]) expect(await texts(engine, handles[at])).toEqual([`value ${at}`]);
    });

    it('read() begins with the piece of the offset, and ends near the bound', async () => {
      const engine = await engineAt(bench.place());
      const { handle } = await made(engine, 'p');
      for (let at = 0; at < 50; at += 1) await engine.append([run(handle, at * 3, `${at}`.padStart(100, '0'), 3)]);
      const read = async (offset: number, bytes: number): Promise<number[]> =>
        (await engine.read(handle, offset, bytes)).map((piece) => Number(String(piece)));
      expect(await read(0, 1)).toEqual([0]);
      expect(await read(4, 100)).toEqual([1]);
      expect(await read(5, 101)).toEqual([1, 2]);
      expect(await read(6, 450)).toEqual([2, 3, 4, 5, 6]);
      expect(await read(147, 1000)).toEqual([49]);
      expect(await read(149, 1000)).toEqual([49]);
      expect(await read(150, 1000)).toEqual([]);
      expect((await read(0, 1_000_000)).length).toBe(50);
    });

    it('findTime() goes by the largest timestamp of each piece, whatever came before', async () => {
      const engine = await engineAt(bench.place());
      const { handle } = await made(engine, 'p');
      const timestamps = [100, 900, 200, 300, 900, 950, 400];
      for (const [at, maxTimestamp] of timestamps.entries()) {
        await engine.append([{ ...run(handle, at * 2, 'x', 2), maxTimestamp }]);
      }
      for (let from = 0; from <= 14; from += 1) {
        for (const timestamp of [0, 100, 150, 300, 301, 900, 901, 951]) {
          const at = timestamps.findIndex((each, piece) => each >= timestamp && piece * 2 + 2 > from);
          expect(await engine.findTime(handle, from, timestamp)).toBe(at < 0 ? null : at * 2);
        }
      }
      expect(await engine.deleteBefore(handle, 4)).toBe('deleted');
      expect(await engine.findTime(handle, 4, 250)).toBe(6);
    });

    it('deleteBefore() counts the bytes once, however often it is called', async () => {
      const engine = await engineAt(bench.place());
      const { handle } = await made(engine, 'p');
      for (let at = 0; at < 10; at += 1) await engine.append([run(handle, at * 2, '0123456789', 2)]);
      for (const offset of [4, 4, 3, 7]) await engine.deleteBefore(handle, offset);
      expect(await engine.places(handle)).toEqual({ startOffset: 7, endOffset: 20, sizeBytes: 70 });
      expect((await engine.pieces(handle, 7, 2)).map(({ baseOffset, bytes }) => [baseOffset, bytes])).toEqual([
        [6, 10],
        [8, 10],
      ]);
      const { handle: newer } = await claimed(engine, 'p');
      expect(await engine.deleteBefore(handle, 20)).toBe('fenced');
      await engine.deleteBefore(newer, 20);
      expect(await engine.places(newer)).toEqual({ startOffset: 20, endOffset: 20, sizeBytes: 0 });
    });

    it('saveProducers() keeps the newest snapshot of the newest writer', async () => {
      const engine = await engineAt(bench.place());
      const { handle } = await made(engine, 'p');
      await engine.saveProducers(handle, 5, Buffer.from('five'));
      await engine.saveProducers(handle, 3, Buffer.from('three'));
      const { handle: newer, producers } = await claimed(engine, 'p');
      expect(String(producers)).toBe('five');
      await engine.saveProducers(handle, 9, Buffer.from('old writer'));
      await engine.saveProducers(newer, 7, Buffer.from([0, 255, 92, 39]));
      expect((await claimed(engine, 'p')).producers).toEqual(Buffer.from([0, 255, 92, 39]));
    });

    it('create() is told from another one by its id, and does not come back after remove()', async () => {
      const engine = await engineAt(bench.place());
      const id = newId();
      expect(await engine.create('p', id, { retentionMs: 5 })).toBe('created');
      expect(await engine.create('p', id, { retentionMs: 5 })).toBe('created');
      expect(await engine.create('p', newId(), {})).toBe('exists');
      expect((await claimed(engine, 'p')).settings).toEqual({ retentionMs: 5 });
      await engine.remove('p', id);
      await engine.remove('p', id);
      expect(await engine.create('p', id, {})).toBe('exists');
      expect(await engine.names()).toEqual([]);
      expect(await engine.create('p', newId(), {})).toBe('created');
    });

    it('an append that arrives late does nothing when its place is taken', async () => {
      const place = bench.place();
      const { engine, link } = await behindLink(place);
      const { handle } = await made(engine, 'p');
      const { handle: other } = await made(engine, 'q');
      await engine.append([run(handle, 0, 'a')]);
      link.set({ isHung: true });
      const late = engine.append([run(handle, 1, 'b'), run(other, 0, 'late')]);
      await sleep(50);
      const near = await engineAt(place);
      await claimed(near, 'q');
      expect((await near.places(handle))?.endOffset).toBe(1);
      // The one that knows the partition by name can write with the handle of the first.
      await near.claim('p');
      const { handle: newest } = await claimed(near, 'p');
      expect(await near.append([run(newest, 1, 'b')])).toEqual(['stored']);
      link.heal();
      expect(await late).toEqual(['fenced', 'fenced']);
      expect(await texts(near, newest)).toEqual(['a', 'b']);
    });

    it('an append whose answer is lost is there once', async () => {
      const place = bench.place();
      const { engine, link } = await behindLink(place);
      const { handle } = await made(engine, 'p');
      await engine.append([run(handle, 0, 'a')]);
      let end = 1;
      for (let round = 0; round < 12; round += 1) {
        link.set({ delayMs: 10 });
        const answer = codeOf(engine.append([run(handle, end, `round ${round}`)]));
        await sleep(2 + 6 * round);
        link.set({ delayMs: 0 });
        link.reset();
        await answer;
        engine.reset();
        const places = await engine.places(handle);
        if (places?.endOffset === end)
          expect(await engine.append([run(handle, end, `round ${round}`)])).toEqual(['stored']);
        else expect(places?.endOffset).toBe(end + 1);
        end += 1;
      }
      expect(await texts(engine, handle)).toEqual(['a', ...Array.from({ length: 12 }, (_, at) => `round ${at}`)]);
    });

    it('what a removed partition leaves is cleaned up, also by the next start', async () => {
      const place = bench.place();
      const engine = await engineAt(place);
      const { handle } = await made(engine, 'p');
      await engine.saveProducers(handle, 0, Buffer.from('x'));
      for (let at = 0; at < 5; at += 1) await engine.append([run(handle, at, 'x')]);
      const later = await engineAt(place);
      // It does not know the key of what it never opened; the next start does.
      await later.remove('p', handle.id);
      await engineAt(place);
      const limit = performance.now() + 10_000;
      while ((await bench.count(place, 'pieces')) + (await bench.count(place, 'producers')) > 0) {
        if (performance.now() > limit) throw new Error('Rows are left');
        await sleep(20);
      }
    });
  });

  async function behindLink(place: string): Promise<{ readonly engine: StoreEngine; readonly link: FaultLink }> {
    const link = await FaultLink.to({ host: '127.0.0.1', port: bench.server.port });
    onTestFinished(() => link.close());
    return { engine: await engineAt(place, { port: link.port }), link };
  }
}
