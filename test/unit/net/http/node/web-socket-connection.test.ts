import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { NodeWebSocketConnection } from '../../../../../src/net/http/node/web-socket-connection.ts';
import { NodeWebSocketServer } from '../../../../../src/net/http/node/web-socket-worker.ts';
import type { WebSocketConnection } from '../../../../../src/net/http/port.ts';
import { Random } from '../../../../fuzz/random.ts';
import { frame, upgradeRequest } from '../../../../fuzz/ws-frames.ts';

const random = new Random(1);
const afterwards: (() => void)[] = [];

afterEach(() => {
  for (const end of afterwards.splice(0)) end();
});

/** A client that has upgraded and reads nothing more, and the server's side of it. */
async function connected() {
  const closes: number[] = [];
  const { promise: accepted, resolve } = Promise.withResolvers<WebSocketConnection>();
  const webSockets = new NodeWebSocketServer({
    endpoints: [
      {
        path: '/mqtt',
        protocols: ['mqtt'],
        accept: (connection) => {
          resolve(connection);
          return {
            onMessage: () => undefined,
            onDrain: () => undefined,
            onClose: (code) => closes.push(code),
          };
        },
      },
    ],
    originAllowed: () => true,
    routes: [],
    onHandlerError: () => undefined,
    connectionsMax: 10,
    handshakeTimeoutMs: 5_000,
    messageBytesMax: 1_048_576,
    idleTimeoutMs: 0,
  });
  const server = createServer((socket) => webSockets.take(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It does not end its side because the server has.
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  client.on('error', () => undefined);
  afterwards.push(() => {
    client.destroy();
    server.close();
    void webSockets.stop(1001, 0);
  });
  client.write(upgradeRequest(random));
  const connection = await accepted;
  await once(client, 'readable');
  return { client, connection, closes, webSockets };
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1_000 && !condition(); tries++) await sleep(10);
}

it('onDrain() comes although the answer to a ping waits behind the last message', () => {
  const drains: number[] = [];
  const taken: (() => void)[] = [];
  const library = Object.assign(new EventEmitter(), {
    bufferedAmount: 0,
    protocol: '',
    send(data: Buffer, _options: object, done: () => void) {
      this.bufferedAmount += data.length;
      taken.push(done);
    },
  });
  const connection = new NodeWebSocketConnection(library as unknown as WebSocket, {} as Socket, '/', undefined);
  connection.serve({ onMessage: () => undefined, onDrain: () => drains.push(drains.length), onClose: () => undefined });
  connection.send(Buffer.alloc(100));
  connection.send(Buffer.alloc(100));
  taken[0]?.();
  expect(drains).toEqual([]);
  // The messages have left, the pong behind them has not: of that the library tells nobody.
  library.bufferedAmount = 6;
  taken[1]?.();
  expect(drains).toEqual([0]);
});

it('a peer is cut that never answers a close frame, or breaks the protocol and stays', async () => {
  const silent = await connected();
  const wrong = await connected();
  for (const { client } of [silent, wrong]) client.on('data', () => undefined);
  silent.connection.close(1000, '');
  wrong.client.write(frame(random, Buffer.alloc(2), { opcode: 7 }));
  const both = [silent.webSockets, wrong.webSockets];
  await until(() => both.every(({ connectionCount }) => connectionCount === 0));
  expect(both.map(({ connectionCount }) => connectionCount)).toEqual([0, 0]);
  expect(silent.closes).toEqual([1000]);
  expect(wrong.closes).toHaveLength(1);
}, 15_000);
