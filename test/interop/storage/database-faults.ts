/**
 * What an adapter over a database server keeps when the server dies, hangs, or cannot be reached, and when there is a second writer. Part of
 * the tests of each of them. Nothing here depends on how long something takes, but on what has happened meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { StoreHealth } from '../../../src/core/ports/stream-store.ts';
import type { EngineRun, StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { StoreFront, type StoreFrontOptions } from '../../../src/core/streams/store-front.ts';
import { FaultLink } from '../../support/fault-proxy.ts';
import { batch, codeOf, readValues, stored, verdict } from '../../support/stream-batches.ts';
import type { DatabaseBench } from './database-bench.ts';
import { Load } from './load.ts';

const killRounds = 5;
const cutRounds = 40;
const limitMs = 60_000;

/** Quick enough for tests; appends wait as long as a test may take. */
const patient: StoreFrontOptions = { callTimeoutMs: 2_000, waitMsMax: 40_000, readWaitMsMax: 40_000, retryMsMax: 200 };

export function databaseFaults(bench: DatabaseBench): void {
  const { product } = bench.adapter;

  /** A link to the server that can be broken. */
  async function brokenWay(): Promise<FaultLink> {
    const link = await FaultLink.to({ host: '127.0.0.1', port: bench.server.port });
    onTestFinished(() => link.close());
    return link;
  }

  async function opened(place: string, limits: StoreFrontOptions, port?: number): Promise<StoreFront> {
    const store = await bench.open(place, limits, port === undefined ? {} : { port });
    onTestFinished(() => store.close());
    return store;
  }

  async function load(store: StoreFront): Promise<Load> {
    const partitions = [await store.create('one'), await store.create('two'), await store.create('three')];
    return new Load(partitions);
  }

  /** Looks with the eyes of this store, and of one that was not there. */
  async function proof(place: string, store: StoreFront, load: Load): Promise<void> {
    await load.stop();
    await load.verify(store);
    await load.verify(await opened(place, {}));
  }

  function ready(store: StoreFront): Promise<void> {
    return until(() => store.health().state === 'ready');
  }

  describe('failures', () => {
    it('nothing acknowledged is lost when the server is killed and started again', { timeout: limitMs }, async () => {
      const place = bench.place();
      const store = await opened(place, patient);
      const told: StoreHealth[] = [];
      store.onHealth((health) => told.push(health));
      const running = await load(store);
      for (let round = 0; round < killRounds; round += 1) {
        await running.progress(200 + 150 * round);
        await bench.server.process.kill();
        await until(() => store.health().state === 'retrying');
        await bench.server.process.start();
        await ready(store);
      }
      await running.progress(200);
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
      const retrying = told.filter(({ state }) => state === 'retrying');
      expect(retrying.length).toBeGreaterThanOrEqual(killRounds);
      for (const { reason } of retrying) expect(reason).not.toBe('');
    });

    it('nothing acknowledged is lost when the server hangs for seconds', { timeout: limitMs }, async () => {
      const place = bench.place();
      const store = await opened(place, { ...patient, callTimeoutMs: 500 });
      const running = await load(store);
      for (let round = 0; round < 3; round += 1) {
        await running.progress(300);
        bench.server.process.pause();
        await until(() => store.health().state === 'retrying');
        await sleep(1_000 * round);
        bench.server.process.resume();
        await ready(store);
      }
      await running.progress(200);
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
    });

    it('nothing acknowledged is lost, or stored twice, when connections are cut', { timeout: limitMs }, async () => {
      const place = bench.place();
      const link = await brokenWay();
      // Answers are on their way for a while, so that many are lost behind the commit.
      link.set({ delayMs: 2 });
      const store = await opened(place, patient, link.port);
      const running = await load(store);
      for (let round = 0; round < cutRounds; round += 1) {
        await running.progress(20 + ((round * 37) % 60));
        link.reset();
      }
      await running.progress(200);
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
    });

    it('an engine that takes a lost append for a stored one is found out', { timeout: limitMs }, async () => {
      const place = bench.place();
      const link = await brokenWay();
      link.set({ delayMs: 2 });
      const store = await StoreFront.open(hopeful(bench.engine(place, { port: link.port })), patient);
      onTestFinished(() => store.close());
      const running = await load(store);
      for (let round = 0; round < 10; round += 1) {
        await sleep(20);
        link.reset();
      }
      await running.stop();
      await expect(running.verify(await opened(place, {}))).rejects.toThrow();
    });

    it('nothing acknowledged is lost when packets get lost for a while', { timeout: limitMs }, async () => {
      const place = bench.place();
      const link = await brokenWay();
      const store = await opened(place, { ...patient, callTimeoutMs: 500 }, link.port);
      const running = await load(store);
      for (let round = 0; round < 3; round += 1) {
        await running.progress(300);
        link.set({ isHung: true });
        await until(() => store.health().state === 'retrying');
        await sleep(300 * round);
        link.heal();
        await ready(store);
      }
      await running.progress(200);
      await proof(place, store, running);
      expect([...running.errors.keys()]).toEqual([]);
    });

    it('producers that are told of a failure are told the truth', { timeout: limitMs }, async () => {
      const place = bench.place();
      const store = await opened(place, { ...patient, callTimeoutMs: 300, waitMsMax: 300 });
      const running = await load(store);
      for (let round = 0; round < 3; round += 1) {
        await running.progress(200);
        if (round === 1) await bench.server.process.kill();
        else bench.server.process.pause();
        await until(() => (running.errors.get('STORAGE_UNAVAILABLE') ?? 0) >= 20 * (round + 1));
        if (round === 1) await bench.server.process.start();
        else bench.server.process.resume();
        await ready(store);
      }
      await running.progress(200);
      await proof(place, store, running);
      const codes = [...running.errors.keys()].sort();
      expect(['STORAGE_UNAVAILABLE', 'STORAGE_UNCERTAIN']).toEqual(expect.arrayContaining(codes));
    });

    it('health() says why the server is away, and calls wait for a bounded time', async () => {
      const place = bench.place();
      const link = await brokenWay();
      const limits = { ...patient, waitMsMax: 200, readWaitMsMax: 200 };
      const store = await opened(place, limits, link.port);
      const partition = await store.create('p');
      await stored(partition, batch(['a']));
      link.set({ isCut: true });
      expect(await verdict(partition, batch(['b']))).toMatch(/STORAGE_UNAVAILABLE|STORAGE_UNCERTAIN/);
      expect(await verdict(partition, batch(['c']))).toBe('STORAGE_UNAVAILABLE');
      expect(await codeOf(partition.read({ offset: 0, bytesMax: 1 }))).toBe('STORAGE_UNAVAILABLE');
      expect(await codeOf(store.names())).toBe('STORAGE_UNAVAILABLE');
      expect(store.health().state).toBe('retrying');
      expect(store.health().reason).toContain(product);
      link.heal();
      await ready(store);
      expect(typeof (await verdict(partition, batch(['d'])))).toBe('number');
      const values = (await readValues(partition)).map((record) => record.split(':')[1]);
      expect(values.filter((value) => value !== 'b')).toEqual(['a', 'd']);
    });

    it('close() ends in time though the server is away', async () => {
      const link = await brokenWay();
      const limits = { ...patient, waitMsMax: 300, readWaitMsMax: 300 };
      const store = await opened(bench.place(), limits, link.port);
      const partition = await store.create('p');
      link.set({ isHung: true });
      const answer = verdict(partition, batch(['a']));
      await store.close();
      expect(await answer).toMatch(/STORAGE_UNAVAILABLE|STORAGE_UNCERTAIN/);
    });
  });

  describe('writers', () => {
    it('a second writer fences the first one, and keeps all that it stored', { timeout: limitMs }, async () => {
      const place = bench.place();
      const first = await opened(place, patient);
      const running = await load(first);
      await running.progress(300);
      const second = await opened(place, patient);
      for (const name of ['one', 'two', 'three']) {
        await stored(await second.open(name), batch([`second/${name.length}`]));
      }
      await running.stop();
      expect([...running.errors.keys()]).toEqual(['STORAGE_LEADER_FENCED']);
      // Whoever is out takes it back by opening it.
      expect(await verdict(await first.open('one'), batch(['first again']))).not.toBe('STORAGE_LEADER_FENCED');
      expect(await verdict(await second.open('one'), batch(['second again']))).toBe('STORAGE_LEADER_FENCED');
      await running.verify(await opened(place, patient), ['second/3', 'second/5', 'first again']);
      for (const name of ['one', 'two', 'three']) {
        const values = await readValues(await second.open(name));
        expect(values.filter((value) => value.includes('second/')).length).toBe(1);
      }
    });

    it('two writers that take partitions from each other lose and double nothing', { timeout: limitMs }, async () => {
      const place = bench.place();
      const stores = [await opened(place, patient), await opened(place, patient)];
      await stores[0].create('p');
      const acknowledged = new Map<string, number>();
      const write = async (store: StoreFront, name: string): Promise<void> => {
        for (let number = 0; number < 60; number += 1) {
          // Takes it back when the other one has it.
          const partition = await store.open('p');
          const place = await verdict(partition, batch([`${name}/${number}`]));
          if (typeof place === 'number') acknowledged.set(`${name}/${number}`, place);
          else expect(place).toBe('STORAGE_LEADER_FENCED');
        }
      };
      await Promise.all(stores.map((store, at) => write(store, `writer-${at}`)));
      const records = await readValues(await (await opened(place, patient)).open('p'));
      expect(new Set(records.map((record) => record.slice(record.indexOf(':')))).size).toBe(records.length);
      expect(acknowledged.size).toBeGreaterThan(0);
      for (const [value, offset] of acknowledged) expect(records[offset]).toBe(`${offset}:${value}`);
    });
  });
}

/** The canary of these tests. */
function hopeful(engine: StoreEngine): StoreEngine {
  return new Proxy(engine, {
    get: (target, key) => {
      if (key === 'append') {
        return (runs: readonly EngineRun[]) => target.append(runs).catch(() => runs.map(() => 'stored'));
      }
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

async function until(isTrue: () => boolean): Promise<void> {
  const limit = performance.now() + 30_000;
  while (!isTrue()) {
    if (performance.now() > limit) throw new Error('What was waited for has not happened');
    await sleep(5);
  }
}
