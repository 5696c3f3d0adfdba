/** A placement centre that cannot go on takes its node out of service. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startBroker } from '../../src/main/index.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { Inspector, inspectorFlags, inspectorLines } from '../support/inspector.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringmq-fault-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const ways = [
  {
    way: 'throws',
    reason: 'planted',
    run: (inspector: Inspector) => inspector.throwIn(inspector.raftWorker, 'planted'),
  },
  {
    way: 'stalls',
    reason: 'stood still for 1000 ms',
    run: (inspector: Inspector) => inspector.stall(inspector.raftWorker),
  },
];

describe('ringmq start', () => {
  it.each(ways)(
    'ends with status 1 when the Raft worker $way, and starts again on the same data',
    async ({ reason, run }) => {
      const options = {
        workers: 1,
        data: folder,
        nodeFlags: inspectorFlags,
        settings: { 'supervision.stallLimitMs': 1_000 },
        expectedErrors: inspectorLines,
      };
      const broker = await BrokerProcess.start(options);
      const inspector = await Inspector.attach(broker);
      await expect.poll(() => broker.metric('ringmq_placement_is_leader'), { timeout: 10_000 }).toBe(1);
      await run(inspector).catch(() => undefined);
      // The process would wait for it at its end.
      inspector.close();
      expect(await broker.exited).toEqual({ code: 1, signal: null });
      expect(broker.log).toContain('Placement centre of this node has failed');
      expect(broker.log).toContain(reason);
      expect(readdirSync(folder)).not.toContain('ringmq.lock');
      const next = await BrokerProcess.start({ ...options, nodeFlags: [], expectedErrors: [] });
      await next.stop();
    },
  );
});

describe('startBroker()', () => {
  it('keeps its data in the folder that the settings name, and refuses one that is in use', async () => {
    const broker = await startBroker({ http: false, settings: { data: folder } });
    await expect(startBroker({ http: false, settings: { data: folder } })).rejects.toMatchObject({
      code: 'DATA_FOLDER_LOCKED',
    });
    await broker.stop();
    const again = await startBroker({ http: false, settings: { data: folder, cluster: { address: '127.0.0.1:0' } } });
    expect(again.port('cluster')).toBeGreaterThan(0);
    await again.stop();
  });
});
