/** Host and client on one thread, over rings that are much too small and a store that answers when it is told to. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import type {
  AppendAnswer,
  AppendDone,
  StreamPartition,
  StreamStore,
} from '../../../../src/core/ports/stream-store.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { createByteRing } from '../../../../src/shm/byte-ring.ts';
import { createCounters } from '../../../../src/shm/counters.ts';
import { createDoorbells, Doorbell } from '../../../../src/shm/doorbell.ts';
import { StorageClient } from '../../../../src/workers/storage/client/storage-client.ts';
import { createColdPace } from '../../../../src/workers/storage/cold-pace.ts';
import { StorageHost } from '../../../../src/workers/storage/host/storage-host.ts';
import { StorageMetrics, storageMetricsLayout } from '../../../../src/workers/storage/host/storage-metrics.ts';
import { hostLine, type StorageLink } from '../../../../src/workers/storage/link.ts';

/** Keeps what it was given, and the views of it, until `answer`. */
class ManualStore {
  readonly appends: {
    readonly name: string;
    readonly bytes: Buffer;
    readonly text: string;
    readonly done: AppendDone;
  }[] = [];
  readonly listeners = new Map<string, () => void>();
  #offset = 0;

  answer(index = 0, error: StorageError | null = null): void {
    const [append] = this.appends.splice(index, 1);
    // What lies in the ring stays as it was until here.
    expect(append.bytes.toString()).toBe(append.text);
    const baseOffset = error === null ? this.#offset++ : -1;
    append.done({ error, baseOffset, lastOffset: baseOffset, isDuplicate: false });
  }

  get store(): StreamStore {
    const partitionOf = (name: string): StreamPartition => ({
      name,
      append: (bytes, done) => this.appends.push({ name, bytes, text: bytes.toString(), done }),
      read: async () => Promise.reject(new Error('the disk is gone')),
      places: async () => ({ logStartOffset: 0, logEndOffset: 0, highWatermark: 0, lastStableOffset: 0, sizeBytes: 0 }),
      offsetForTime: async () => null,
      deleteBefore: async () => 0,
      onCommitted: (listener) => {
        this.listeners.set(name, listener);
        return () => this.listeners.delete(name);
      },
    });
    return {
      adapter: 'manual',
      health: () => ({ state: 'ready', reason: '', since: 1 }),
      onHealth: () => () => undefined,
      create: async (name) => partitionOf(name),
      open: async (name) => partitionOf(name),
      remove: async () => undefined,
      names: async () => [],
      change: async () => undefined,
      settings: async () => ({}),
      close: async () => undefined,
    };
  }
}

interface Pair {
  readonly manual: ManualStore;
  readonly host: StorageHost;
  readonly client: StorageClient;
}

const pairs: Pair[] = [];

afterEach(async () => {
  for (const { host, manual } of pairs.splice(0)) {
    while (manual.appends.length > 0) manual.answer();
    await host.stop();
  }
});

function pair(requestBytes: number, completionBytes: number, takesSharedMemory: boolean): Pair {
  const doorbells = createDoorbells(2);
  const manual = new ManualStore();
  const metrics = new StorageMetrics(createCounters(storageMetricsLayout().slotCount));
  const host = new StorageHost({
    store: manual.store,
    takesSharedMemory,
    doorbell: new Doorbell(doorbells, hostLine),
    metrics,
  });
  const coldPace = createColdPace(2);
  const options = { adapter: 'manual', doorbells, coldPace, line: 1, unansweredBytesMax: 1e6, waitMsMax: 5_000 };
  const client = new StorageClient(options);
  const calls = new MessageChannel();
  const payloads = new MessageChannel();
  // Nobody is at its ends: the services have a host of their own.
  const { port1: services } = new MessageChannel();
  const rings = {
    requests: createByteRing(requestBytes),
    completions: createByteRing(completionBytes),
    line: 1,
    services,
  };
  host.connect({ ...rings, port: calls.port1, payloads: payloads.port1 } satisfies StorageLink);
  client.adopt({ ...rings, port: calls.port2, payloads: payloads.port2 });
  pairs.push({ manual, host, client });
  return { manual, host, client };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

describe.each([true, false])('StorageHost with shared memory %s', (takesSharedMemory) => {
  it('carries everything through rings for five records, in order, with answers in any order', async () => {
    const { manual, client } = pair(256, 256, takesSharedMemory);
    const partition = await client.open('a');
    const answers: string[] = [];
    for (let number = 0; number < 300; number += 1) {
      const text = `${number}`.padEnd(number % 60, '.');
      partition.append(Buffer.from(text), ({ error }) => answers.push(`${number} ${error?.code ?? 'stored'}`));
    }
    const taken: string[] = [];
    for (let round = 0; answers.length < 300; round += 1) {
      await turn();
      // The newest is answered first: its record waits in the ring for those before.
      while (manual.appends.length > 0) {
        const index = manual.appends.length - 1;
        taken.push(manual.appends[index].text);
        manual.answer(index, round % 3 === 0 ? new StorageError('STORAGE_DISK_FULL', 'Cannot append: full') : null);
      }
    }
    expect(taken.map(Number.parseFloat).sort((left, right) => left - right)).toEqual(
      Array.from({ length: 300 }, (_, number) => number),
    );
    expect(new Set(answers.map((answer) => answer.split(' ')[0])).size).toBe(300);
    expect(new Set(answers.map((answer) => answer.split(' ')[1]))).toEqual(new Set(['stored', 'STORAGE_DISK_FULL']));
  });

  it('keeps answers that find no room, and notices, until there is some', async () => {
    const { manual, client } = pair(65_536, 256, takesSharedMemory);
    const partition = await client.open('a');
    const others = await Promise.all(Array.from({ length: 20 }, (_, number) => client.open(`b${number}`)));
    const told = new Set<string>();
    for (const other of others) other.onCommitted(() => told.add(other.name));
    await until(() => manual.listeners.size === 20);
    const answers: AppendAnswer[] = [];
    for (let number = 0; number < 200; number += 1) {
      partition.append(Buffer.from(`${number}`), (answer) => answers.push(answer));
    }
    await until(() => manual.appends.length === 200);
    for (const listener of manual.listeners.values()) listener();
    while (manual.appends.length > 0) manual.answer();
    await until(() => answers.length === 200 && told.size === 20);
    expect(answers.map(({ baseOffset }) => baseOffset)).toEqual(Array.from({ length: 200 }, (_, number) => number));
  });

  it('tells the errors of a disk as a partition that has failed', async () => {
    const { client } = pair(1_024, 1_024, takesSharedMemory);
    const partition = await client.open('a');
    await expect(partition.read({ offset: 0, bytesMax: 10 })).rejects.toMatchObject({
      code: 'STORAGE_PARTITION_FAILED',
      message: 'the disk is gone',
    });
  });

  it('answers what it had not, as uncertain, when the host is gone', async () => {
    const { manual, host, client } = pair(256, 256, takesSharedMemory);
    const partition = await client.open('a');
    const codes: string[] = [];
    for (let number = 0; number < 60; number += 1) {
      partition.append(Buffer.from('x'.repeat(40)), ({ error }) => codes.push(`${number} ${error?.code ?? 'stored'}`));
    }
    await until(() => manual.appends.length > 2);
    manual.answer();
    await until(() => codes.length === 1);
    await host.stop();
    await until(() => codes.length > 3);
    const [first, ...lost] = codes;
    expect(first).toBe('0 stored');
    // Those that were in the ring; the others wait for the next host.
    expect(lost.every((code) => code.endsWith('STORAGE_UNCERTAIN'))).toBe(true);
    expect(client.unanswered).toBe(60 - codes.length);
    expect(client.unanswered).toBeGreaterThan(0);
    await client.close();
    expect(codes.length).toBe(60);
    expect(codes.at(-1)).toBe('59 STORAGE_CLOSED');
    manual.appends.length = 0;
    pairs.length = 0;
  });
});
