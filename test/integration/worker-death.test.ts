/**
 * One of two workers dies under load: the clients of the other lose nothing, its own come back. The toy protocol, which
 * is added beside the real one, kills on command.
 */
import mqtt from 'mqtt';
import { expect, it } from 'vitest';
import { until } from '../support/echo/program.ts';
import { twoWorkers } from '../support/echo/two-workers.ts';

const MESSAGE_COUNT = 3_000;

const running = twoWorkers();

it('a thrown error on one worker loses no acknowledged message of the other, and its clients come back', async () => {
  const program = running();
  const url = `mqtt://127.0.0.1:${program.ports.get('mqtt')}`;
  const killer = await program.connect();
  expect(await killer.ask('hello')).toBe('w0 hello');
  const subscriber = await mqtt.connectAsync(url, { protocolVersion: 5, clientId: 'subscriber' });
  const wanderer = await mqtt.connectAsync(url, { clientId: 'wanderer', reconnectPeriod: 50 });
  const publisher = await mqtt.connectAsync(url, { protocolVersion: 5, clientId: 'publisher' });

  const received: number[] = [];
  subscriber.on('message', (_topic, payload) => received.push(Number(payload.toString())));
  await subscriber.subscribeAsync('load', { qos: 1 });
  let publisherClosed = false;
  publisher.on('close', () => {
    publisherClosed = true;
  });
  let wandererBack = 0;
  wanderer.on('connect', () => wandererBack++);

  const acknowledged: Promise<unknown>[] = [];
  for (let count = 0; count < MESSAGE_COUNT; count++) {
    acknowledged.push(publisher.publishAsync('load', String(count), { qos: 1 }));
    if (count === MESSAGE_COUNT / 3) killer.send('throw');
    if (count % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(acknowledged);
  await until(() => received.length >= MESSAGE_COUNT);
  expect(received).toEqual(Array.from({ length: MESSAGE_COUNT }, (_, index) => index));
  expect(publisherClosed).toBe(false);
  await until(() => wandererBack >= 1 && wanderer.connected);
  expect(await program.metric('ringmq_worker_restarts_total{worker="main",cause="error"}')).toBe(1);
  await Promise.all([subscriber.endAsync(), publisher.endAsync(), wanderer.endAsync()]);
});
