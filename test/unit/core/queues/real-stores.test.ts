import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { BatchBuilder } from '../../../../src/core/batch/batch-builder.ts';
import type { StreamPartition, StreamStore } from '../../../../src/core/ports/stream-store.ts';
import type { AcknowledgementSet } from '../../../../src/core/queues/acknowledgement-set.ts';
import { type QueueContext, systemContext } from '../../../../src/core/queues/queue-context.ts';
import { QueueService } from '../../../../src/core/queues/queue-service.ts';
import { openJournalStore } from '../../../../src/journal/stream-store.ts';
import { openMemoryStore } from '../../../../src/storage/memory/memory-store.ts';
import { Chance } from './fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringmq-queues-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A context with real time. */
function realContext(): { readonly context: QueueContext; stop(): void } {
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const context = systemContext(clock);
  const ticking = setInterval(() => context.timers.advance(Math.floor(clock.monotonic() / 10)), 10);
  return { context, stop: () => clearInterval(ticking) };
}

async function append(partition: StreamPartition, values: readonly string[]): Promise<void> {
  const builder = new BatchBuilder();
  for (const value of values) {
    builder.add({ timestampMs: Date.now(), key: Buffer.from(`k${value.length % 3}`), value: Buffer.from(value) });
  }
  const { error } = await new Promise<Parameters<Parameters<StreamPartition['append']>[1]>[0]>((resolve) => {
    partition.append(builder.build(), resolve);
  });
  if (error !== null) throw error;
}

/** Takes messages until all of `count` are acknowledged, and treats some badly before. */
function consume(set: AcknowledgementSet, count: number, chance: Chance, seen: Set<string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const consumer = set.addConsumer({
      name: 'real',
      credit: 50,
      onEnd: reject,
      onMessages: (messages) => {
        for (const delivery of messages) {
          const value = delivery.message.value?.toString() ?? '';
          if (seen.has(value)) reject(new Error(`${value} is delivered again`));
          const kind = chance.below(20);
          if (kind === 0) set.fail(delivery, 20);
          else if (kind === 1) set.release(delivery);
          else if (kind === 2) set.reject(delivery);
          else if (set.acknowledge(delivery)) seen.add(value);
          if (kind === 2) seen.add(value);
        }
        set.addCredit(consumer, messages.length);
        if (seen.size < count) return;
        set.removeConsumer(consumer);
        resolve();
      },
    });
  });
}

async function exercise(openStore: () => Promise<StreamStore>, isKept: boolean): Promise<void> {
  const chance = new Chance(3);
  const seen = new Set<string>();
  let store = await openStore();
  let real = realContext();
  let service = await QueueService.open({ store, context: real.context });
  await store.create('dead');
  await service.createQueue('q', { levels: 2, settings: { deadLetterStream: 'dead', order: 'key' } });
  for (let batch = 0; batch < 10; batch += 1) {
    await append(
      service.route('q', null, batch),
      Array.from({ length: 50 }, (_, index) => `${batch}-${index}`),
    );
  }
  await consume(service.group('q'), 250, chance, seen);
  await service.group('q').whenStored();
  await service.offsets.commit('g', null, [{ stream: 'dead', offset: 5 }]);
  await service.close();
  real.stop();
  if (isKept) {
    await store.close();
    store = await openStore();
  }
  real = realContext();
  service = await QueueService.open({ store, context: real.context });
  await consume(service.group('q'), 500, chance, seen);
  // Dead letters are on their way when all is taken.
  for (let round = 0; round < 500 && service.group('q').countOf('dying') > 0; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const described = await service.describe('q');
  expect(described.groups[0]).toMatchObject({ lag: 0, problems: [] });
  expect(service.offsets.fetch('g', 'dead')?.offset).toBe(5);
  const dead = await (await store.open('dead')).places();
  expect(dead.highWatermark).toBeGreaterThan(5);
  await service.close();
  real.stop();
  await store.close();
}

test('QueueService works over the memory store', async () => {
  await exercise(() => openMemoryStore({ bytesMax: 64 * 1024 * 1024 }), false);
});

test('QueueService works over the journal, and over a journal that is opened again', async () => {
  await exercise(async () => openJournalStore({ directories: [join(folder, 'journal')] }), true);
});
