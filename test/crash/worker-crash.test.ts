/**
 * Workers that die under load, seen from everybody's clients. They are killed through Node's inspector: the broker under
 * test is the one that users run.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { BrokerProcess, type BrokerProcessOptions } from '../support/broker-process.ts';
import { Inspector, inspectorFlags, inspectorLines, type ThreadId } from '../support/inspector.ts';
import { connect, Flow, findAddresses, shardedByAddress, until } from './load.ts';

const running: BrokerProcess[] = [];
const inspectors: Inspector[] = [];
const clients: MqttClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.end(true);
  for (const inspector of inspectors.splice(0)) inspector.close();
  for (const broker of running.splice(0)) await broker.kill();
});

async function start(options: BrokerProcessOptions = {}): Promise<BrokerProcess> {
  const expectedErrors = [...inspectorLines, /worker died/, /worker stalled/];
  const broker = await BrokerProcess.start({ nodeFlags: inspectorFlags, expectedErrors, ...options });
  running.push(broker);
  return broker;
}

async function attach(broker: BrokerProcess): Promise<Inspector> {
  const inspector = await Inspector.attach(broker);
  inspectors.push(inspector);
  return inspector;
}

/** Index of the worker that the latest log line of this kind names. */
function workerOf(broker: BrokerProcess, message: string): number {
  return Number(broker.logLines.findLast((line) => line.message === message)?.worker);
}

function countLines(broker: BrokerProcess, message: string): number {
  return broker.logLines.filter((line) => line.message === message).length;
}

type Addresses = Awaited<ReturnType<typeof findAddresses>>;

/** The thread of a worker; the only way to learn which of two it is, is to let one die. */
async function findThreadOf(broker: BrokerProcess, inspector: Inspector, index: number): Promise<ThreadId> {
  const [first, second] = inspector.workers;
  await inspector.throwIn(first, 'killed to learn its index');
  await until(() => countLines(broker, 'worker died') === 1);
  const killed = workerOf(broker, 'worker died');
  await recovered(broker, inspector);
  const successor = inspector.workers.find((thread) => thread !== second) as ThreadId;
  return killed === index ? successor : second;
}

async function recovered(broker: BrokerProcess, inspector: Inspector): Promise<void> {
  await until(async () => (await broker.metric('ringmq_workers_serving')) === 2);
  await until(() => inspector.workers.length === 2);
}

/** Time until a client is served again, ms: the first attempts may meet the dying worker. */
async function reconnectMs(broker: BrokerProcess, address: string): Promise<number> {
  const beginMs = performance.now();
  for (;;) {
    try {
      clients.push(await connect(broker, address, { connectTimeout: 1_000 }));
      return performance.now() - beginMs;
    } catch {
      // Reset, since it was handed to the worker that dies: that is what a client would see, and try again.
      if (performance.now() - beginMs > 10_000) throw new Error('Cannot connect for 10 s');
    }
  }
}

const kills = ['throw', 'throw', 'throw', 'throw', 'throw'] as const;

describe('a worker that throws under load', () => {
  it('takes nothing from the clients of the other one, five times over, and its own clients come back', async () => {
    const broker = await start({ settings: { ...shardedByAddress, 'supervision.restartBackoffMaxMs': 200 } });
    const inspector = await attach(broker);
    const addresses = await findAddresses(broker);
    let victim = await findThreadOf(broker, inspector, 1);
    const retainer = await connect(broker, addresses[0]);
    clients.push(retainer);
    for (let topic = 0; topic < 50; topic++) {
      await retainer.publishAsync(`kept/${topic}`, `value ${topic}`, { qos: 1, retain: true });
    }
    const survivors = [
      await Flow.start(await connect(broker, addresses[0]), await connect(broker, addresses[0]), 'survivors/one', 1),
      await Flow.start(await connect(broker, addresses[0]), await connect(broker, addresses[0]), 'survivors/zero', 0),
    ];

    for (const [round] of kills.entries()) {
      // Within the worker that will die, into it and out of it; some with sessions that would outlive a connection.
      const lasting = { clientId: `doomed-${round}`, clean: false, properties: { sessionExpiryInterval: 600 } };
      const doomed = [await connect(broker, addresses[1]), await connect(broker, addresses[1], lasting)];
      const outsiders = [await connect(broker, addresses[0]), await connect(broker, addresses[0])];
      clients.push(...doomed, ...outsiders);
      const cut = doomed.map((client) => new Promise<void>((resolve) => client.once('close', () => resolve())));
      const crossing = [
        await Flow.start(doomed[0], doomed[1], `doomed/${round}/within`, 1),
        await Flow.start(outsiders[0], doomed[1], `doomed/${round}/into`, 1),
        await Flow.start(doomed[0], outsiders[1], `doomed/${round}/out`, 1),
      ];
      await doomed[1].subscribeAsync('doomed/+/orphan', { qos: 1 });
      await until(
        () => crossing.every(({ received }) => received > 100) && survivors.every(({ received }) => received > 100),
      );

      const died = countLines(broker, 'worker died');
      await inspector.throwIn(victim, `killed in round ${round}`);
      await Promise.all(cut);
      const readyz = await fetch(`http://127.0.0.1:${broker.port('http')}/readyz`);
      expect(readyz.status).toBe(200); // The other worker serves.
      expect(await reconnectMs(broker, addresses[1])).toBeLessThan(1_000);
      await until(() => countLines(broker, 'worker died') === died + 1);
      expect(workerOf(broker, 'worker died')).toBe(1);
      await recovered(broker, inspector);
      victim = inspector.workers.at(-1) as ThreadId;
      for (const client of outsiders) expect(client.connected).toBe(true);
      // What was on its way to or from the dead worker may be lost with it: these sessions ended.
      for (const flow of crossing) flow.abandon();

      await expectWholeAgain(broker, addresses, round);
    }

    for (const flow of survivors) {
      expect(await flow.finish()).toEqual([]);
      expect(flow.received).toBeGreaterThan(1_000);
    }
    expect(retainer.connected).toBe(true);
    expect(await broker.metric('ringmq_worker_restarts_total', 'cause="error"')).toBe(kills.length + 1);
  }, 120_000);

  /** The replacement has the retained values and the stored sessions, both directions are routed, and nothing is left of the other sessions. */
  async function expectWholeAgain(broker: BrokerProcess, addresses: Addresses, round: number): Promise<void> {
    const [old, fresh] = [await connect(broker, addresses[0]), await connect(broker, addresses[1])];
    clients.push(old, fresh);
    const kept = new Map<string, string>();
    fresh.on('message', (topic, payload) => kept.set(topic, payload.toString()));
    await fresh.subscribeAsync('kept/+', { qos: 1 });
    await until(() => kept.size === 50);
    expect(kept.get('kept/7')).toBe('value 7');
    // A change reaches the replacement's copy, too.
    await old.publishAsync('kept/7', 'value 7', { qos: 1, retain: true });

    const both = [
      await Flow.start(
        await connect(broker, addresses[0]),
        await connect(broker, addresses[1]),
        `again/${round}/into`,
        1,
      ),
      await Flow.start(
        await connect(broker, addresses[1]),
        await connect(broker, addresses[0]),
        `again/${round}/out`,
        1,
      ),
    ];
    await until(() => both.every(({ received }) => received > 200));
    for (const flow of both) expect(await flow.finish()).toEqual([]);

    // A subscription of a session that died with its worker draws nothing: no ring record is made for it.
    const delivered = await broker.metric('ringmq_mqtt_packets_total', 'worker="1",type="publish",direction="sent"');
    for (let count = 0; count < 20; count++) await old.publishAsync(`doomed/${round}/orphan`, 'x', { qos: 1 });
    expect(await broker.metric('ringmq_mqtt_packets_total', 'worker="1",type="publish",direction="sent"')).toBe(
      delivered,
    );
    // The stored sessions of the dead worker are here, each with its three subscriptions; of the others nothing is left.
    const stored = 3 * (round + 1);
    expect(await broker.metric('ringmq_mqtt_durable_subscriptions', 'worker="1"')).toBe(stored);
    expect(await broker.metric('ringmq_mqtt_subscriptions', 'worker="1"')).toBe(stored + 1);
    old.end(true);
    fresh.end(true);
  }
});

describe('a worker that hangs under load', () => {
  it('is replaced, and the clients of the other one lose nothing although its ring was full', async () => {
    const broker = await start({
      settings: { ...shardedByAddress, 'supervision.stallLimitMs': 1_500, 'limits.ringBytes': 65_536 },
    });
    const inspector = await attach(broker);
    const addresses = await findAddresses(broker);
    const victim = await findThreadOf(broker, inspector, 1);
    const survivor = await Flow.start(
      await connect(broker, addresses[0]),
      await connect(broker, addresses[0]),
      'survivor',
      1,
    );
    const [publisher, subscriber] = [await connect(broker, addresses[0]), await connect(broker, addresses[1])];
    clients.push(publisher, subscriber);
    await subscriber.subscribeAsync('into/the/void', { qos: 0 });
    const cut = new Promise<void>((resolve) => subscriber.once('close', () => resolve()));

    await inspector.stall(victim);
    // More than the ring holds: this publisher is held back until the hanging worker is given up, and then goes on.
    const held = Promise.all(
      Array.from({ length: 200 }, () => publisher.publishAsync('into/the/void', Buffer.alloc(1_000), { qos: 1 })),
    );
    await cut;
    await held;
    await recovered(broker, inspector);
    expect(await broker.metric('ringmq_worker_restarts_total', 'cause="stall"')).toBe(1);
    expect(publisher.connected).toBe(true);
    await until(() => survivor.received > 200);
    expect(await survivor.finish()).toEqual([]);
    const after = await Flow.start(
      await connect(broker, addresses[0]),
      await connect(broker, addresses[1]),
      'after',
      1,
    );
    await until(() => after.received > 100);
    expect(await after.finish()).toEqual([]);
  }, 60_000);
});

describe('a broker that is killed', () => {
  it('starts again on the same data folder, whose lock it left behind, and serves', async () => {
    const data = mkdtempSync(join(tmpdir(), 'ringmq-crash-'));
    try {
      for (let life = 0; life < 3; life++) {
        const broker = await start({ data, nodeFlags: [] });
        const flow = await Flow.start(
          await connect(broker, broker.host),
          await connect(broker, broker.host),
          'life',
          1,
        );
        await until(() => flow.received > 50);
        const refused = BrokerProcess.start({ data });
        await expect(refused).rejects.toThrow(/Cannot use data folder/);
        if (life === 2) {
          expect(await flow.finish()).toEqual([]);
          await broker.stop();
        } else {
          await broker.kill();
          flow.abandon();
        }
      }
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  }, 60_000);
});
