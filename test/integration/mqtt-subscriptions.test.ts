/** Subscriptions that concern several sessions, on two workers: exclusive ones, and shared ones whose members leave. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { RawClient, type RawConnect } from '../support/mqtt/raw-client.ts';

let broker: Broker;
const open: RawClient[] = [];

beforeAll(async () => {
  broker = await startBroker({ workers: 2, http: false, settings: { sharding: 'round-robin' } });
});
afterEach(() => {
  for (const { socket } of open.splice(0)) socket.destroy();
});
afterAll(() => broker.stop());

/** Each further connection is on the other worker. */
async function connect(options: RawConnect): Promise<RawClient> {
  const client = await RawClient.connect(broker.port(), { level: 5, ...options });
  open.push(client);
  return client;
}

const lasting = { clean: false, properties: { sessionExpiryInterval: 60 } };

/** Asks again until the answer is this one: workers hear of each other a moment later. */
async function subscribeUntil(client: RawClient, path: string, code: number): Promise<void> {
  for (let granted = -1; granted !== code; ) [granted] = (await client.subscribe(path)).granted as number[];
}

describe('an exclusive subscription', () => {
  it('is one on the node, moves with its session, and is free when that ends', async () => {
    const one = await connect({ clientId: 'one', ...lasting });
    const two = await connect({ clientId: 'two' });
    expect((await one.subscribe('$exclusive/a')).granted).toEqual([0]);
    expect((await two.subscribe('$exclusive/a')).granted).toEqual([0x97]);
    await one.cut();
    await connect({ clientId: 'other' }); // So that the session moves to the other worker.
    const back = await connect({ clientId: 'one', ...lasting });
    expect(back.connack.sessionPresent).toBe(true);
    expect((await two.subscribe('$exclusive/a')).granted).toEqual([0x97]);
    expect((await back.subscribe('$exclusive/a')).granted).toEqual([0]);
    back.send({ cmd: 'disconnect', properties: { sessionExpiryInterval: 0 } });
    await back.closed();
    await subscribeUntil(two, '$exclusive/a', 0);
  });

  it('that several ask for at once is granted to one of them', async () => {
    const clients: RawClient[] = [];
    for (let at = 0; at < 8; at++) clients.push(await connect({ clientId: `c${at}` }));
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(clients.map((client) => client.subscribe(`$exclusive/r/${round}`)));
      const codes = answers.map(({ granted }) => (granted as number[])[0]);
      expect(codes.filter((code) => code === 0).length).toBeLessThanOrEqual(1);
      expect(codes.every((code) => code === 0 || code === 0x97)).toBe(true);
      expect(codes).toContain(0);
    }
  });
});

describe('a shared subscription', () => {
  it.each([0, 60])(
    'loses nothing when a member leaves without acknowledging (expiry %i s)',
    async (sessionExpiryInterval) => {
      const path = `$share/g/jobs/${sessionExpiryInterval}`;
      const topic = `jobs/${sessionExpiryInterval}`;
      const options = { clean: false, properties: { sessionExpiryInterval } };
      const leaver = await connect({ clientId: `leaver${sessionExpiryInterval}`, ...options });
      const stayer = await connect({ clientId: `stayer${sessionExpiryInterval}`, ...options });
      for (const member of [leaver, stayer]) await member.subscribe(path, 1);
      const publisher = await connect({ clientId: `publisher${sessionExpiryInterval}` });
      const count = 200;
      for (let at = 0; at < count; at++) {
        publisher.publish(topic, `${at}`, { qos: 1 });
        if (at === count / 2) {
          await leaver.packets(10);
          await leaver.cut();
        }
      }
      const seen = new Set<string>();
      while (seen.size < count) {
        const message: AnyPacket = await stayer.packet('publish');
        seen.add(`${message.payload}`);
        stayer.send({ cmd: 'puback', messageId: message.messageId });
      }
      expect(seen.size).toBe(count);
    },
  );
});
