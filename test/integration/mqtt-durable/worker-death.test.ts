/**
 * The worker of a durable session dies under load: no publication that was acknowledged to a publisher of the other worker is missing,
 * whether the client comes back to its worker or to the other one. The toy protocol, which is added beside the real one, kills on command.
 */
import mqtt from 'mqtt';
import { expect, it } from 'vitest';
import { until } from '../../support/echo/program.ts';
import { twoWorkers } from '../../support/echo/two-workers.ts';

const messageCount = 1_500;

const running = twoWorkers();

it('a durable session whose worker dies gets everything that was acknowledged meanwhile', async () => {
  const program = running();
  const url = `mqtt://127.0.0.1:${program.ports.get('mqtt')}`;
  const other = await program.connect();
  expect(await other.ask('hello')).toBe('w0 hello');
  const subscriber = await mqtt.connectAsync(url, { clientId: 'durable', clean: false, reconnectPeriod: 50 });
  const publisher = await mqtt.connectAsync(url, { clientId: 'publisher' });
  const killer = await program.connect();
  expect(await killer.ask('hello')).toBe('w1 hello');
  const received: number[] = [];
  subscriber.on('message', (_topic, payload) => received.push(Number(payload.toString())));
  await subscriber.subscribeAsync('load', { qos: 1 });
  const acknowledged: Promise<unknown>[] = [];
  for (let count = 0; count < messageCount; count += 1) {
    acknowledged.push(publisher.publishAsync('load', String(count), { qos: 1 }));
    if (count === messageCount / 3) killer.send('throw');
    if (count % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(acknowledged);
  await until(() => received.includes(messageCount - 1));
  expect([...new Set(received)]).toEqual(Array.from({ length: messageCount }, (_, index) => index));
  expect(await program.metric('ringmq_worker_restarts_total{worker="main",cause="error"}')).toBe(1);
  await Promise.all([subscriber.endAsync(), publisher.endAsync()]);
}, 60_000);
