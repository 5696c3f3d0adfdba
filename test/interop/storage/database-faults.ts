/**
 * What an adapter over a database server keeps when the server fails: the tests of all engines, and a bug that they must find. Part of the
 * tests of each of them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { EngineRun, StoreEngine } from '../../../src/core/streams/store-engine.ts';
import { StoreFront } from '../../../src/core/streams/store-front.ts';
import { FaultLink } from '../../support/fault-proxy.ts';
import type { DatabaseBench } from './database-bench.ts';
import { engineFaults, type FaultyServer, patient } from './engine-faults.ts';
import { Load } from './load.ts';

const limitMs = 60_000;

export function databaseFaults(bench: DatabaseBench): void {
  engineFaults({
    server: () => faulty(bench),
    place: () => bench.place(),
    engineAt: (place, port) => bench.engine(place, { port }),
    cutRounds: 40,
    stepRecords: 200,
  });

  describe('these tests', () => {
    it('find out an engine that takes a lost append for a stored one', { timeout: limitMs }, async () => {
      const place = bench.place();
      const link = await FaultLink.to({ host: '127.0.0.1', port: bench.server.port });
      onTestFinished(() => link.close());
      link.set({ delayMs: 2 });
      const store = await StoreFront.open(hopeful(bench.engine(place, { port: link.port })), patient);
      onTestFinished(() => store.close());
      const running = new Load([await store.create('one'), await store.create('two'), await store.create('three')]);
      for (let round = 0; round < 10; round += 1) {
        await sleep(20);
        link.reset();
      }
      await running.stop();
      const other = await bench.open(place);
      onTestFinished(() => other.close());
      await expect(running.verify(other)).rejects.toThrow();
    });
  });
}

function faulty({ server: { port, process } }: DatabaseBench): FaultyServer {
  return {
    port,
    kill: () => process.kill(),
    restart: () => process.start(),
    pause: () => process.pause(),
    resume: () => process.resume(),
  };
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
