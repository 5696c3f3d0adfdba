/** The storage of a broker as programs and operators meet it: kept over restarts, in health and metrics, with any adapter. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { append, batchOf, readValues } from '../support/storage/storage-rig.ts';

let data = '';
const running: Broker[] = [];

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'ringmq-storage-'));
});

afterEach(async () => {
  for (const broker of running.splice(0)) await broker.stop();
  rmSync(data, { recursive: true, force: true });
});

async function start(storage: Readonly<Record<string, unknown>> = {}, workers = 2): Promise<Broker> {
  const broker = await startBroker({ workers, settings: { data, storage } });
  running.push(broker);
  return broker;
}

async function get(broker: Broker, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`http://127.0.0.1:${broker.port('http')}${path}`);
  return { status: response.status, text: await response.text() };
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe('broker.storage', () => {
  it('keeps streams over restarts, with their settings', async () => {
    const values = Array.from({ length: 500 }, (_, number) => `value ${number}`);
    for (let life = 0; life < 3; life += 1) {
      const broker = await start();
      const partition =
        life === 0 ? await broker.storage.create('a-0', { retentionMs: 1e9 }) : await broker.storage.open('a-0');
      expect(await broker.storage.settings('a-0')).toMatchObject({ retentionMs: 1e9 });
      const answers = await Promise.all(values.map((value) => append(partition, batchOf(value))));
      expect(answers.map(({ baseOffset }) => baseOffset)).toEqual(values.map((_, index) => life * 500 + index));
      expect([...(await readValues(partition)).values()]).toEqual(
        Array.from({ length: life + 1 }, () => values).flat(),
      );
      expect(await broker.storage.names()).toEqual(['a-0']);
      await broker.stop();
    }
  });

  it('is in the health and the metrics of the node, and every thread is joined to it', async () => {
    const broker = await start();
    await append(await broker.storage.create('a-0'), batchOf('x', 'y'));
    await until(async () => (await get(broker, '/readyz')).status === 200);
    await until(async () =>
      /^ringmq_storage_clients\{worker="journal"\} 3$/m.test((await get(broker, '/metrics')).text),
    );
    const { text } = await get(broker, '/metrics');
    expect(text).toMatch(/^# TYPE ringmq_storage_append_seconds histogram$/m);
    expect(text).toMatch(/^ringmq_storage_append_seconds_bucket\{worker="journal",le="\+Inf"\} 1$/m);
    expect(text).toMatch(/^ringmq_storage_append_seconds_count\{worker="journal"\} 1$/m);
    expect(text).toMatch(/^ringmq_storage_sync_seconds_count\{worker="journal"\} [1-9]/m);
    expect(text).toMatch(/^ringmq_storage_partitions_open\{worker="journal"\} 1$/m);
  });

  it('refuses records on a disk that is nearly full, reads on, and the node stays in service', async () => {
    const first = await start({}, 1);
    await append(await first.storage.create('a-0'), batchOf('x'));
    await first.stop();
    const broker = await start({ journal: { freeBytesMin: 2 ** 50 } }, 1);
    const partition = await broker.storage.open('a-0');
    expect((await append(partition, batchOf('y'))).error?.code).toBe('STORAGE_DISK_FULL');
    await expect(broker.storage.create('b-0')).rejects.toMatchObject({ code: 'STORAGE_DISK_FULL' });
    expect([...(await readValues(partition)).values()]).toEqual(['x']);
    expect(broker.storage.health().state).toBe('degraded');
    expect((await get(broker, '/readyz')).status).toBe(200);
  });

  it('says in the health why it is not there', async () => {
    const broker = await start({ journal: { directories: [join(data, 'ringmq.lock', 'x')] } }, 1);
    await until(async () => (await get(broker, '/readyz')).text.includes('ringmq.lock'));
    const { status, text } = await get(broker, '/readyz');
    expect([status, text]).toEqual([503, expect.stringContaining('ringmq.lock')]);
  });

  it('keeps records in memory when it is told to', async () => {
    const broker = await start({ adapter: 'memory' }, 1);
    expect(broker.storage.adapter).toBe('memory');
    await append(await broker.storage.create('a-0'), batchOf('x'));
    await broker.stop();
    const second = await start({ adapter: 'memory' }, 1);
    expect(await second.storage.names()).toEqual([]);
  });

  it('is refused with an adapter that there is not', async () => {
    await expect(start({ adapter: 'nowhere' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('storage.adapter'),
    });
  });
});
