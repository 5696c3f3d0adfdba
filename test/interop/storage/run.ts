/**
 * The adapters over database servers for longer than a test may take. Started by hand:
 *
 *   node test/interop/storage/run.ts faults <postgres|mysql> [--rounds 50] [--seed 1]
 *   node test/interop/storage/run.ts throughput <postgres|mysql> [--seconds 5]
 *
 * `faults` breaks the server, or the way to it, once in each round at a random moment under load: kill -9, a pause, cut connections, lost
 * packets. In the end all that producers were told has to be true.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { StreamPartition } from '../../../src/core/ports/stream-store.ts';
import { StoreFront, type StoreFrontOptions } from '../../../src/core/streams/store-front.ts';
import { FaultLink } from '../../support/fault-proxy.ts';
import { append, batch } from '../../support/stream-batches.ts';
import { type DatabaseAdapter, settingsOf, type TestDatabase } from './database-adapter.ts';
import { Load } from './load.ts';
import { mysqlAdapter } from './mysql-adapter.ts';
import { postgresAdapter } from './postgres-adapter.ts';

const place = 'run_';
const mebibyte = 1024 * 1024;
/** Some producers give up while the server is away, others wait. */
const impatient: StoreFrontOptions = { callTimeoutMs: 700, waitMsMax: 1_500, readWaitMsMax: 60_000, retryMsMax: 300 };
const patient: StoreFrontOptions = { ...impatient, waitMsMax: 60_000 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '50' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '5' },
  },
});

/** Numbers from 0 to 1 that depend on the seed alone. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function faults(adapter: DatabaseAdapter, server: TestDatabase): Promise<void> {
  const random = randomOf(Number(values.seed));
  const link = await FaultLink.to({ host: '127.0.0.1', port: server.port });
  const engine = () => adapter.engine(settingsOf(server, { port: link.port }), place);
  const stores = [await StoreFront.open(engine(), patient), await StoreFront.open(engine(), impatient)];
  const loads: Load[] = [];
  for (const [at, store] of stores.entries()) {
    loads.push(new Load(await Promise.all(['a', 'b', 'c'].map((name) => store.create(`${name}${at}`)))));
  }
  const acts: readonly [name: string, act: () => Promise<void>][] = [
    ['kill', () => killed(server, random)],
    ['pause', () => paused(server, random)],
    ['cut', async () => link.reset()],
    ['lost packets', () => hung(link, random)],
    ['closed port', () => closed(link, random)],
  ];
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    link.set({ delayMs: Math.floor(random() * 4) });
    await sleep(random() * 400);
    const [name, act] = acts[Math.floor(random() * acts.length)];
    await act();
    await loads[0].progress(50);
    const counts = loads.map((load) => load.acknowledgedCount);
    console.log(`round ${round}: ${name}, acknowledged ${counts.join(' and ')}`);
  }
  link.heal();
  for (const [at, load] of loads.entries()) {
    await load.stop();
    await load.verify(stores[at]);
    const fresh = await StoreFront.open(adapter.engine(settingsOf(server), place), patient);
    await load.verify(fresh);
    await fresh.close();
    console.log(
      `producers ${at}: errors ${JSON.stringify(Object.fromEntries(load.errors))}; all they were told is true`,
    );
  }
  await Promise.all(stores.map((store) => store.close()));
  await link.close();
}

async function killed({ process }: TestDatabase, random: () => number): Promise<void> {
  await process.kill();
  await sleep(random() * 1_000);
  await process.start();
}

async function paused({ process }: TestDatabase, random: () => number): Promise<void> {
  process.pause();
  await sleep(random() * 3_000);
  process.resume();
}

async function hung(link: FaultLink, random: () => number): Promise<void> {
  link.set({ isHung: true });
  await sleep(random() * 3_000);
  link.heal();
}

async function closed(link: FaultLink, random: () => number): Promise<void> {
  link.set({ isCut: true });
  await sleep(random() * 2_000);
  link.heal();
}

interface Row {
  readonly inFlight: number;
  readonly bytes: number;
  readonly partitions: number;
}

const rows: readonly Row[] = [
  { inFlight: 1, bytes: 256, partitions: 1 },
  { inFlight: 100, bytes: 256, partitions: 1 },
  { inFlight: 1000, bytes: 256, partitions: 1 },
  { inFlight: 1000, bytes: 256, partitions: 16 },
  { inFlight: 64, bytes: 16_384, partitions: 4 },
];

async function throughput(adapter: DatabaseAdapter, server: TestDatabase): Promise<void> {
  const store = await StoreFront.open(adapter.engine(settingsOf(server), place), { waitMsMax: 60_000 });
  for (const [at, row] of rows.entries()) {
    const partitions: StreamPartition[] = [];
    for (let number = 0; number < row.partitions; number += 1) partitions.push(await store.create(`t${at}-${number}`));
    const written = await write(partitions, row);
    const readMb = await readAll(partitions[0]);
    console.log({ ...row, ...written, readMb });
  }
  await store.close();
}

async function write(partitions: readonly StreamPartition[], { inFlight, bytes }: Row) {
  const one = batch(['x'.repeat(bytes)]);
  const times: number[] = [];
  const start = performance.now();
  const end = start + Number(values.seconds) * 1000;
  const produce = async (partition: StreamPartition): Promise<void> => {
    for (let now = performance.now(); now < end; ) {
      const { error } = await append(partition, one);
      if (error !== null) throw error;
      const next = performance.now();
      times.push(next - now);
      now = next;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, at) => produce(partitions[at % partitions.length])));
  const seconds = (performance.now() - start) / 1000;
  times.sort((one, other) => one - other);
  const quantile = (part: number): number => Number(times[Math.floor(part * (times.length - 1))].toFixed(2));
  return { recordsPerS: Math.round(times.length / seconds), p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
}

/** Megabytes a second. */
async function readAll(partition: StreamPartition): Promise<number> {
  const start = performance.now();
  let bytes = 0;
  for (let offset = 0; ; ) {
    const answer = await partition.read({ offset, bytesMax: mebibyte });
    if (answer.nextOffset === offset) break;
    bytes += answer.bytes;
    offset = answer.nextOffset;
  }
  return Math.round(bytes / 1000 / (performance.now() - start));
}

const [what, which] = positionals;
const adapter = [postgresAdapter, mysqlAdapter].find(({ name }) => name === which);
const task = what === 'faults' ? faults : what === 'throughput' ? throughput : undefined;
if (adapter === undefined || task === undefined) {
  console.error('Usage: run.ts <faults|throughput> <postgres|mysql> [--rounds N] [--seed N] [--seconds S]');
  process.exit(2);
}
const server = await adapter.start();
try {
  await task(adapter, server);
} finally {
  await server.process.stop();
}
