/**
 * Queues, delayed messages and transactions of a broker whose process is killed, and of one whose journal worker dies alone: what was
 * confirmed is kept, what was not settled comes again, what is due is written once.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Delivery } from '../../src/core/ports/queues.ts';
import { type Broker, startBroker } from '../../src/main/index.ts';
import type { JournalThread } from '../../src/main/storage/journal-thread.ts';
import { readValues } from '../support/storage/storage-rig.ts';

const child = join(import.meta.dirname, '../support/storage/services.child.ts');
let data = '';
let broker: Broker;

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A life of a broker that ends with SIGKILL once everything is under way. */
async function killedLife(): Promise<void> {
  const life = spawn(process.execPath, [child, data], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  life.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  life.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = once(life, 'exit');
  await Promise.race([until(() => output.includes('begun')), ended]);
  if (!output.includes('begun')) throw new Error(`the child ended early\n${errors}`);
  life.kill('SIGKILL');
  await ended;
}

async function killJournalWorker(): Promise<void> {
  const { node } = broker as unknown as {
    readonly node: { readonly storageSupervisor: { readonly thread: JournalThread | null } };
  };
  await node.storageSupervisor.thread?.terminate();
  // What is asked before this thread knows of the death is answered as uncertain, unless it only asks.
  await broker.services.queues.names();
}

describe('the services of a broker', () => {
  beforeAll(async () => {
    data = mkdtempSync(join(tmpdir(), 'ringmq-services-'));
    await killedLife();
    broker = await startBroker({ settings: { data } });
  }, 60_000);

  afterAll(async () => {
    await broker.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('write what became due while nobody was there, once, without being asked', async () => {
    const later = await broker.storage.open('later-0');
    await until(async () => (await readValues(later)).size > 0);
    expect([...(await readValues(later)).values()]).toEqual(['in time']);
  });

  it('keep settlements and counts of deliveries over kill -9, and over the death of the journal worker', async () => {
    const { queues } = broker.services;
    const got: Delivery[] = [];
    let resets = 0;
    const consumer = await queues.attach('jobs', {
      name: 'c',
      credit: 10,
      onMessages: (some) => got.push(...some),
      onReset: () => {
        resets += 1;
      },
    });
    const shown = (): unknown[] => got.map(({ message, deliveryCount }) => [message.value?.toString(), deliveryCount]);
    await until(() => got.length === 2);
    // Which of them comes first is not said: one has to be read again.
    expect(shown()).toEqual(
      expect.arrayContaining([
        ['taken', 2],
        [undefined, 1],
      ]),
    );
    const taken = got.find(({ deliveryCount }) => deliveryCount === 2) as Delivery;
    const fresh = got.find(({ deliveryCount }) => deliveryCount === 1) as Delivery;
    expect(await consumer.acknowledge(fresh)).toBe(true);
    await killJournalWorker();
    await until(() => got.length === 3);
    expect([resets, shown()[2]]).toEqual([1, ['taken', 3]]);
    expect(await consumer.acknowledge(taken)).toBe(false);
    expect(await consumer.acknowledge(got[2])).toBe(true);
    expect((await queues.describe('jobs')).groups[0]).toMatchObject({ lag: 0, consumers: [{ name: 'c' }] });
    await consumer.close();
  });

  it('end transactions that were decided, with their cursors, and keep open those that were not', async () => {
    const { transactions, cursors } = broker.services;
    const out = await broker.storage.open('out-0');
    await until(async () => (await cursors.fetch('readers', ['in-0']))[0].cursor?.offset === 7);
    expect(await transactions.describe('open')).toMatchObject({ state: 'ongoing', partitions: ['out-0'] });
    const { lastStableOffset, highWatermark } = await out.places();
    expect(lastStableOffset).toBe(1);
    expect(highWatermark).toBeGreaterThan(1);
    await killJournalWorker();
    await transactions.abort('open');
    // A marker may be there twice, when the first life ended before it was noted.
    await until(async () => {
      const places = await out.places();
      return places.lastStableOffset === places.highWatermark;
    });
    const { aborted } = await out.read({ offset: 0, bytesMax: 1_000_000, isolation: 'stable' });
    expect(aborted).toHaveLength(1);
  });

  it('are in the metrics of the node', async () => {
    const response = await fetch(`http://127.0.0.1:${broker.port('http')}/metrics`);
    const text = await response.text();
    expect(text).toMatch(/^ringmq_delayed_written_total\{worker="journal"\} \d/m);
    expect(text).toMatch(/^ringmq_queue_settle_seconds_count\{worker="journal"\} [1-9]/m);
    expect(text).toMatch(/^ringmq_queues_open\{worker="journal"\} \d/m);
  });
});
