/**
 * What a store over a foreign engine keeps when its server dies, hangs, or cannot be reached, and when there is a second
 * writer. Part of the tests of each of them. Nothing here depends on how long something takes, but on what has happened meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { assignPlace } from '../../../src/core/batch/batch-format.ts';
import type { EngineHandle, EngineRun, StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { StoreFront, type StoreFrontOptions } from '../../../src/core/streams/store-front.ts';
import { FaultLink } from '../../support/fault-proxy.ts';
import { batch, codeOf, readValues, stored, verdict } from '../../support/stream-batches.ts';
import { Load } from './load.ts';

const killRounds = 4;
const limitMs = 60_000;

/** Quick enough for tests; appends wait as long as a test may take. */
export const patient: StoreFrontOptions = {
  callTimeoutMs: 2000,
  waitMsMax: 40_000,
  readWaitMsMax: 40_000,
  retryMsMax: 200,
};

/** The server that the tests of a file break. */
export interface FaultyServer {
  readonly port: number;
  /** kill -9. */
  kill(): Promise<void>;
  /** Again over the same files; resolves when it serves. */
  restart(): Promise<void>;
  pause(): void;
  resume(): void;
}

export interface FaultBench {
  server(): FaultyServer;
  /** Makes the records of one test differ from those of all others. */
  place(): string;
  /** Over the records of `place`, on a server that is reached at `port`. */
  engineAt(place: string, port: number): StoreEngine;
  /** How many connections are cut while a store works. */
  readonly cutRounds: number;
  /** Records between two faults, about: slow engines take fewer. */
  readonly stepRecords: number;
}

export function engineFaults(bench: FaultBench): void {
  const { cutRounds, stepRecords } = bench;

  async function opened(place: string, limits = patient, port = bench.server().port): Promise<StoreFront> {
    const store = await StoreFront.open(bench.engineAt(place, port), limits);
    onTestFinished(() => store.close());
    return store;
  }

  async function brokenWay(): Promise<FaultLink> {
    const link = await FaultLink.to({ host: '127.0.0.1', port: bench.server().port });
    onTestFinished(() => link.close());
    return link;
  }

  async function load(store: StoreFront): Promise<Load> {
    return new Load([await store.create('one'), await store.create('two'), await store.create('three')]);
  }

  /** Looks with the eyes of this store, and of one that was not there. */
  async function proof(place: string, store: StoreFront, load: Load): Promise<void> {
    await load.progress(stepRecords);
    await load.stop();
    await load.verify(store);
    await load.verify(await opened(place));
  }

  describe('failures', () => {
    it('nothing acknowledged is lost when the server is killed and started again', { timeout: limitMs }, async () => {
      const place = bench.place();
      const store = await opened(place);
      const reasons: string[] = [];
      store.onHealth(({ state, reason }) => state === 'retrying' && reasons.push(reason));
      const running = await load(store);
      for (let round = 0; round < killRounds; round += 1) {
        await running.progress(stepRecords * (1 + round));
        await bench.server().kill();
        await until(() => store.health().state === 'retrying');
        await bench.server().restart();
        await until(() => store.health().state === 'ready');
      }
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
      expect(reasons.length).toBeGreaterThanOrEqual(killRounds);
      expect(reasons).not.toContain('');
    });

    it('nothing acknowledged is lost, or stored twice, when connections are cut', { timeout: limitMs }, async () => {
      const place = bench.place();
      const link = await brokenWay();
      // Answers are on their way for a while, so that many are lost behind the write.
      link.set({ delayMs: 2 });
      const store = await opened(place, patient, link.port);
      const running = await load(store);
      for (let round = 0; round < cutRounds; round += 1) {
        await running.progress(10 + ((round * 37) % 60));
        link.reset();
      }
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
    });

    it('nothing acknowledged is lost when packets get lost, or the server hangs', { timeout: limitMs }, async () => {
      const place = bench.place();
      const link = await brokenWay();
      const store = await opened(place, { ...patient, callTimeoutMs: 500 }, link.port);
      const running = await load(store);
      for (const [hang, heal] of [
        [() => link.set({ isHung: true }), () => link.heal()],
        [() => bench.server().pause(), () => bench.server().resume()],
      ]) {
        await running.progress(stepRecords);
        hang();
        await until(() => store.health().state === 'retrying');
        await sleep(600);
        heal();
        await until(() => store.health().state === 'ready');
      }
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
    });

    it('producers that are told of a failure are told the truth', { timeout: limitMs }, async () => {
      const place = bench.place();
      const store = await opened(place, { ...patient, callTimeoutMs: 300, waitMsMax: 300 });
      const running = await load(store);
      for (let round = 0; round < 2; round += 1) {
        await running.progress(stepRecords);
        if (round === 1) await bench.server().kill();
        else bench.server().pause();
        await until(() => (running.errors.get('STORAGE_UNAVAILABLE') ?? 0) >= 20 * (round + 1));
        if (round === 1) await bench.server().restart();
        else bench.server().resume();
        await until(() => store.health().state === 'ready');
      }
      await proof(place, store, running);
      expect(['STORAGE_UNAVAILABLE', 'STORAGE_UNCERTAIN']).toEqual(expect.arrayContaining([...running.errors.keys()]));
    });

    it('calls wait for a bounded time while the server is away, and so does close()', async () => {
      const link = await brokenWay();
      const store = await opened(bench.place(), { ...patient, waitMsMax: 200, readWaitMsMax: 200 }, link.port);
      const partition = await store.create('p');
      await stored(partition, batch(['a']));
      link.set({ isCut: true });
      expect(await verdict(partition, batch(['b']))).toMatch(/STORAGE_UNAVAILABLE|STORAGE_UNCERTAIN/);
      expect(await codeOf(store.names())).toBe('STORAGE_UNAVAILABLE');
      expect(store.health().state).toBe('retrying');
      expect(store.health().reason).not.toBe('');
      link.heal();
      await until(() => store.health().state === 'ready');
      expect(typeof (await verdict(partition, batch(['c'])))).toBe('number');
      link.set({ isHung: true });
      const answer = verdict(partition, batch(['d']));
      await store.close();
      expect(await answer).toMatch(/STORAGE_UNAVAILABLE|STORAGE_UNCERTAIN/);
    });
  });

  describe('runs', () => {
    it('a run that arrives again, late, or from an old writer is not stored', async () => {
      const engine = bench.engineAt(bench.place(), bench.server().port);
      await engine.open();
      onTestFinished(() => engine.close());
      expect(await engine.create('p', 'id-1', {})).toBe('created');
      const old = await claimed(engine);
      const [first, other, second] = [runOf(old, 0, 'first'), runOf(old, 0, 'other'), runOf(old, 1, 'second')];
      expect(await engine.append([second])).toEqual(['conflict']);
      expect(await engine.append([first])).toEqual(['stored']);
      for (const late of [first, other]) expect(await engine.append([late])).toEqual(['conflict']);
      expect(await engine.append([second])).toEqual(['stored']);
      const writer = await claimed(engine);
      expect(writer.writer).toBeGreaterThan(old.writer);
      for (const late of [first, second]) expect(await engine.append([late])).not.toContain('stored');
      const third = runOf(writer, 2, 'third');
      expect(await engine.append([third])).toEqual(['stored']);
      expect(Buffer.concat(await engine.read(writer, 0, 10_000))).toEqual(
        Buffer.concat([first.bytes, second.bytes, third.bytes]),
      );
      expect(await engine.deleteBefore(old, 1)).toBe('fenced');
      await engine.saveProducers(writer, 2, Buffer.from('two'));
      await engine.saveProducers(writer, 1, Buffer.from('one'));
      expect((await engine.claim('p'))?.producers).toEqual(Buffer.from('two'));
      await engine.remove('p', 'another-id');
      expect(await engine.create('p', 'id-1', {})).toBe('created');
      expect(await engine.create('p', 'id-2', {})).toBe('exists');
      await engine.remove('p', 'id-1');
      expect(await engine.places(writer)).toBeNull();
      expect(await engine.claim('p')).toBeNull();
    });
  });

  describe('writers', () => {
    it('a second writer fences the first one, and keeps all that it stored', { timeout: limitMs }, async () => {
      const place = bench.place();
      const first = await opened(place);
      const running = await load(first);
      await running.progress(stepRecords);
      const second = await opened(place);
      for (const name of ['one', 'two', 'three']) {
        await stored(await second.open(name), batch([`second/${name.length}`]));
      }
      await running.stop();
      expect([...running.errors.keys()]).toEqual(['STORAGE_LEADER_FENCED']);
      // Whoever is out takes it back by opening it.
      expect(typeof (await verdict(await first.open('one'), batch(['first again'])))).toBe('number');
      expect(await verdict(await second.open('one'), batch(['second again']))).toBe('STORAGE_LEADER_FENCED');
      await running.verify(await opened(place), ['second/3', 'second/5', 'first again']);
    });

    it('a writer of a partition that somebody else removed is out', { timeout: limitMs }, async () => {
      const place = bench.place();
      const first = await opened(place);
      const partition = await first.create('p');
      await stored(partition, batch(['a']));
      const second = await opened(place);
      await second.remove('p');
      const again = await second.create('p');
      await stored(again, batch(['b']));
      await until(async () => (await verdict(partition, batch(['late']))) === 'STORAGE_LEADER_FENCED');
      expect(await readValues(again)).toEqual(['0:b']);
      expect(await second.names()).toEqual(['p']);
    });

    it('two writers that take a partition from each other lose and double nothing', { timeout: limitMs }, async () => {
      const place = bench.place();
      const stores = [await opened(place), await opened(place)];
      await stores[0].create('p');
      const acknowledged = new Map<string, number>();
      const write = async (store: StoreFront, name: string): Promise<void> => {
        for (let number = 0; number < 60; number += 1) {
          const partition = await store.open('p');
          const at = await verdict(partition, batch([`${name}/${number}`]));
          if (typeof at === 'number') acknowledged.set(`${name}/${number}`, at);
          else expect(at).toBe('STORAGE_LEADER_FENCED');
        }
      };
      await Promise.all(stores.map((store, at) => write(store, `writer-${at}`)));
      const records = await readValues(await (await opened(place)).open('p'));
      expect(new Set(records.map((record) => record.slice(record.indexOf(':')))).size).toBe(records.length);
      expect(acknowledged.size).toBeGreaterThan(0);
      for (const [value, offset] of acknowledged) expect(records[offset]).toBe(`${offset}:${value}`);
    });
  });
}

async function claimed(engine: StoreEngine): Promise<EngineHandle> {
  const claim = await engine.claim('p');
  if (claim === null) throw new Error('There is no partition to claim');
  return claim.handle;
}

/** A run of one record. */
function runOf(handle: EngineHandle, baseOffset: number, value: string): EngineRun {
  const bytes = batch([value], { timestampMs: 1000 });
  assignPlace(bytes, 0, baseOffset, handle.writer);
  const maxTimestamp = 1000;
  const batches = [{ baseOffset, lastOffset: baseOffset, maxTimestamp, at: 0, size: bytes.length }];
  return { handle, baseOffset, endOffset: baseOffset + 1, maxTimestamp, bytes, batches };
}

/** Waits, but not for ever. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + 30_000;
  while (!(await isTrue())) {
    if (performance.now() > limit) throw new Error('What was waited for has not happened');
    await sleep(5);
  }
}
