/** What `$SYS` of a real broker with two workers says of sessions and subscriptions, connected or not, and after kill -9. */
import { expect, it, vi } from 'vitest';
import { type DurableBroker, lasting, useDurableBroker } from '../../support/mqtt/durable-client.ts';

const start = useDurableBroker();

/** The end of the topic and the value of what begins so. */
async function valuesOf(broker: DurableBroker, clientId: string, names: readonly string[]): Promise<object> {
  const client = await broker.connect({ clientId });
  const values = new Map<string, string>();
  await client.subscribe('$SYS/brokers/+/stats/#', 0);
  for (const { cmd, topic, payload } of await client.barrier()) {
    if (cmd === 'publish') values.set(String(topic).replace(/.*\/stats\//, ''), String(payload));
  }
  await client.cut();
  return Object.fromEntries(names.map((name) => [name, values.get(`${name}/count`)]));
}

it('$SYS counts subscriptions of stored sessions on all workers, whether their clients are there or not', async () => {
  const broker = await start();
  const names = ['subscribers', 'subscriptions', 'subscriptions/shared', 'durable_subscriptions', 'channels'];
  // Connections go round: two on each worker.
  for (const clientId of ['one', 'two', 'three', 'four']) {
    const client = await broker.connect(lasting(clientId));
    if (clientId !== 'four')
      for (const path of ['a/#', '$share/g/a/#', `$exclusive/${clientId}`]) await client.subscribe(path, 1);
    await client.cut();
  }
  await broker.connect({ clientId: 'writer' });
  // Who asks has a subscription and a session, too.
  const all = { subscribers: '4', subscriptions: '10', 'subscriptions/shared': '3', durable_subscriptions: '9' };
  const before = await valuesOf(broker, 'reader', names);
  expect(before).toMatchObject({ ...all, channels: '6' });
  await broker.restart();
  await vi.waitFor(
    async () => expect(await valuesOf(broker, 'reader', names)).toMatchObject({ ...all, channels: '5' }),
    5_000,
  );
  const back = await broker.connect(lasting('one'));
  back.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['$share/g/a/#', '$exclusive/one'] });
  await back.packet('unsuback');
  expect(await valuesOf(broker, 'reader', names)).toMatchObject({
    ...{ subscribers: '4', subscriptions: '8', 'subscriptions/shared': '2', durable_subscriptions: '7', channels: '5' },
  });
  const clean = await broker.connect(lasting('one', { clean: true, expiry: 0 }));
  await clean.cut();
  await vi.waitFor(async () =>
    expect(await valuesOf(broker, 'reader', names)).toMatchObject({
      subscribers: '3',
      subscriptions: '7',
      channels: '4',
    }),
  );
}, 30_000);
