/**
 * Child process of `listener-uws.test.ts`: a broker whose WebSockets uWebSockets.js accepts, with clients that check it.
 * Prints one JSON line per check.
 */
import { connectAsync, type MqttClient } from 'mqtt';
import { WebSocket } from 'ws';
import { startBroker } from '../../src/main/index.ts';
import type { CheckResult } from '../contract/http-uws.child.ts';
import { counted } from '../support/transports/metrics.ts';
import { connectPacket, welcome } from '../support/transports/peer.ts';

const uws = { adapter: 'uws', messageBytesMax: 300_000 };
const listener = (name: string, settings: object = {}) => ({
  name,
  protocol: 'mqtt',
  transport: 'ws',
  address: '127.0.0.1:0',
  webSocket: uws,
  ...settings,
});
const broker = await startBroker({
  workers: 2,
  settings: {
    http: { adapter: 'node' },
    listeners: [
      listener('ws'),
      listener('few', { connectionsMax: 1 }),
      { name: 'tcp', protocol: 'mqtt', address: '127.0.0.1:0' },
    ],
  },
});

function check(isRight: boolean, what: string): void {
  if (!isRight) throw new Error(what);
}

async function raw(name: string): Promise<{ socket: WebSocket; next(): Promise<string> }> {
  const socket = new WebSocket(`${broker.url(name)}/mqtt`, ['mqtt']);
  const events: string[] = [];
  let wake: () => void = () => undefined;
  const note = (event: string): void => {
    events.push(event);
    wake();
  };
  socket.on('open', () => note('open'));
  socket.on('message', (data: Buffer) => note(data.toString('hex')));
  socket.on('close', (code) => note(`close ${code}`));
  socket.on('error', () => note('error'));
  const next = async (): Promise<string> => {
    while (events.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return events.shift() as string;
  };
  return { socket, next };
}

const connect = (name: string, clientId: string, path = ''): Promise<MqttClient> =>
  connectAsync(broker.url(name) + path, { clientId, protocolVersion: 5, reconnectPeriod: 0 });

const checks: readonly (readonly [string, () => Promise<void>])[] = [
  [
    'MQTT.js speaks through it with clients of other transports, in both directions',
    async () => {
      const clients = [await connect('ws', 'a', '/mqtt'), await connect('ws', 'b', '/mqtt'), await connect('tcp', 'c')];
      const heard = clients.map(() => 0);
      for (const [index, client] of clients.entries()) {
        await client.subscribeAsync('all', { qos: 1 });
        client.on('message', (_topic, payload) => {
          if (payload.length === 100_000) heard[index]++;
        });
      }
      for (const client of clients) {
        for (let count = 0; count < 10; count++) await client.publishAsync('all', Buffer.alloc(100_000), { qos: 1 });
      }
      while (heard.some((count) => count < 30)) await new Promise((resolve) => setTimeout(resolve, 5));
      await Promise.all(clients.map((client) => client.endAsync()));
    },
  ],
  [
    'text is answered with 1003',
    async () => {
      const { socket, next } = await raw('ws');
      check((await next()) === 'open', 'it opens');
      socket.send('text');
      const end = await next();
      check(end === 'close 1003', end);
      check((await counted(broker, 'ringmq_transport_failures_total', 'web-socket-text')) === 1, 'it is counted');
    },
  ],
  [
    'a message beyond the limit ends the connection',
    async () => {
      const { socket, next } = await raw('ws');
      await next();
      socket.send(Buffer.alloc(310_000));
      const end = await next();
      check(end === 'close 1009', end);
    },
  ],
  [
    'the limit of connections holds, and there is room again after an end',
    async () => {
      const first = await raw('few');
      check((await first.next()) === 'open', 'the first one opens');
      first.socket.send(connectPacket('first'));
      check((await first.next()) === welcome, 'the first one is let in');
      const second = await raw('few');
      check((await second.next()) !== 'open', 'the second one does not open');
      first.socket.close();
      check((await first.next()).startsWith('close'), 'the first one closes');
      for (;;) {
        const again = await raw('few');
        const event = await again.next();
        again.socket.terminate();
        if (event === 'open') break;
      }
      check((await counted(broker, 'ringmq_transport_failures_total', 'accept-limit')) > 0, 'it is counted');
    },
  ],
  [
    'no connection is left when all have gone',
    async () => {
      while ((await counted(broker, 'ringmq_connections_open', '')) > 0)
        await new Promise((resolve) => setTimeout(resolve, 10));
    },
  ],
  [
    'the broker stops with connections open',
    async () => {
      const { next } = await raw('ws');
      check((await next()) === 'open', 'it opens');
      await broker.stop();
      check((await next()).startsWith('close'), 'it is closed');
    },
  ],
];

for (const [name, run] of checks) {
  const result: CheckResult = await run().then(
    () => ({ name }),
    (error: unknown) => ({ name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
