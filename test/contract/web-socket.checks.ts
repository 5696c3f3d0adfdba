/** The part of the HTTP contract that concerns WebSockets: accepted on the main thread, served by workers. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import { frame, opcodes, openWebSocket, RawClient, readFrame, upgradeRequest } from './http-clients.ts';
import { type ContractCheck, withWebSockets } from './http-fixture.ts';

const MESSAGE_BYTES_MAX = 10_000;

export const webSocketChecks: readonly ContractCheck[] = [
  {
    name: 'serveWebSockets() echoes text and binary messages of all sizes',
    run: (context) =>
      withWebSockets(context, { messageBytesMax: 200_000 }, async ({ port }) => {
        const { client, headers } = await openWebSocket(port, '/echo');
        equal(headers.get('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
        equal(headers.has('sec-websocket-protocol'), false);
        equal(headers.has('sec-websocket-extensions'), false);
        for (const opcode of [opcodes.text, opcodes.binary]) {
          for (const size of [0, 1, 125, 126, 65_535, 65_536, 200_000]) {
            const payload = Buffer.alloc(size, 'abcdefg');
            client.send(frame(opcode, payload));
            const answer = await readFrame(client);
            deepEqual([answer.opcode, answer.fin], [opcode, true]);
            ok(answer.payload.equals(payload), `payload of ${size} bytes`);
          }
        }
        client.close();
      }),
  },
  {
    name: 'serveWebSockets() works with a client that is not ours and offers compression',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const client = new WebSocket(`ws://127.0.0.1:${port}/echo`, { perMessageDeflate: true });
        await once(client, 'open');
        equal(client.extensions, '');
        client.send('grüße');
        const [data, isBinary] = await once(client, 'message');
        deepEqual([String(data), isBinary], ['grüße', false]);
        client.close(1000, 'done');
        const [code] = await once(client, 'close');
        equal(code, 1000);
      }),
  },
  {
    name: 'serveWebSockets() keeps the order of messages that arrive in one piece, or byte by byte',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const { client } = await openWebSocket(port, '/echo');
        const frames = Array.from({ length: 200 }, (_, i) => frame(opcodes.binary, Buffer.from(`message ${i}`)));
        client.send(Buffer.concat(frames));
        for (let i = 0; i < frames.length; i++) equal(String((await readFrame(client)).payload), `message ${i}`);
        for (const byte of frame(opcodes.text, Buffer.from('piecemeal'))) {
          client.send(Buffer.of(byte));
          await new Promise((resolve) => setImmediate(resolve));
        }
        equal(String((await readFrame(client)).payload), 'piecemeal');
        client.close();
      }),
  },
  {
    name: 'serveWebSockets() joins fragments, with control frames between them',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const { client } = await openWebSocket(port, '/echo');
        client.send(frame(opcodes.text, Buffer.from('one '), false));
        client.send(frame(opcodes.continuation, Buffer.from('two '), false));
        client.send(frame(opcodes.ping, Buffer.from('between')));
        client.send(frame(opcodes.continuation, Buffer.from('three'), true));
        const pong = await readFrame(client);
        deepEqual([pong.opcode, String(pong.payload)], [opcodes.pong, 'between']);
        const answer = await readFrame(client);
        deepEqual([answer.opcode, String(answer.payload)], [opcodes.text, 'one two three']);
        client.close();
      }),
  },
  {
    name: 'serveWebSockets() agrees on the sub-protocol that it prefers',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const offers = [
          ['Sec-WebSocket-Protocol: alpha, beta', 'beta'],
          ['Sec-WebSocket-Protocol: gamma,alpha', 'alpha'],
        ];
        for (const [offer, expected] of offers) {
          const { client, headers } = await openWebSocket(port, '/agreed', [offer]);
          equal(headers.get('sec-websocket-protocol'), expected);
          client.close();
        }
        // An endpoint without sub-protocols confirms none.
        const { client, headers } = await openWebSocket(port, '/echo', ['Sec-WebSocket-Protocol: alpha']);
        equal(headers.has('sec-websocket-protocol'), false);
        client.close();
      }),
  },
  {
    name: 'serveWebSockets() refuses upgrades that it must not take',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const refused: readonly (readonly [string, readonly number[]])[] = [
          [upgradeRequest('/agreed'), [400]],
          [upgradeRequest('/agreed', ['Sec-WebSocket-Protocol: gamma']), [400]],
          [upgradeRequest('/echo', ['Origin: https://evil.example']), [403]],
          [upgradeRequest('/echo', ['Origin: null']), [403]],
          [upgradeRequest('/echo', ['Sec-WebSocket-Version: 8']), [426]],
          [upgradeRequest('/none'), [404]],
          [upgradeRequest('/echo').replace('dGhlIHNhbXBsZSBub25jZQ==', 'short'), [400, 426]],
          ['GET /echo HTTP/1.1\r\nHost: a\r\n\r\n', [426]],
          ['GET /none HTTP/1.1\r\nHost: a\r\n\r\n', [404]],
          ['POST /hello HTTP/1.1\r\nHost: a\r\n\r\n', [405]],
          ['POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx', [413]],
        ];
        for (const [request, statuses] of refused) {
          const client = await RawClient.open(port);
          client.send(request);
          const { status } = await client.response();
          ok(statuses.includes(status), `${status} for ${request}`);
          await client.untilClosed();
        }
        const { client } = await openWebSocket(port, '/echo', ['Origin: https://console.example']);
        client.close();
      }),
  },
  {
    name: 'serveWebSockets() answers plain HTTP from its routes and closes',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send('GET /hello HTTP/1.1\r\nHost: a\r\n\r\n');
        const { status, body } = await client.response();
        deepEqual([status, body], [200, 'hello']);
        await client.untilClosed();
      }),
  },
  {
    name: 'serveWebSockets() closes with 1009 on a message over the maximum',
    run: (context) =>
      withWebSockets(context, { messageBytesMax: MESSAGE_BYTES_MAX }, async ({ port, workers }) => {
        const whole = await openWebSocket(port, '/echo');
        whole.client.send(frame(opcodes.binary, Buffer.alloc(MESSAGE_BYTES_MAX + 1)));
        equal(await closeCode(whole.client), 1009);
        equal((await workers[0].next('closed')).code, 1009);
        const fragmented = await openWebSocket(port, '/echo');
        const half = Buffer.alloc(MESSAGE_BYTES_MAX / 2 + 1);
        fragmented.client.send(frame(opcodes.binary, half, false));
        fragmented.client.send(frame(opcodes.continuation, half, true));
        equal(await closeCode(fragmented.client), 1009);
        // Far over it, the connection may just be cut, before the message is there.
        const giant = await openWebSocket(port, '/echo');
        giant.client.send(frame(opcodes.binary, Buffer.alloc(100), true, 2 ** 31));
        ok([1009, 1006].includes(await closeCode(giant.client)));
      }),
  },
  {
    name: 'serveWebSockets() ends connections that break the protocol',
    run: (context) =>
      withWebSockets(context, {}, async ({ port, workers }) => {
        const broken = [
          // RFC 6455, section 5.2: reserved bits and opcodes. (uWebSockets.js does not look at the bit for masking.)
          Buffer.from([0xf1, 0x80, 1, 2, 3, 4]),
          Buffer.from([0x83, 0x80, 1, 2, 3, 4]),
          // Section 5.5: control frames are short and whole.
          frame(opcodes.ping, Buffer.alloc(126)),
          // Section 8.1: text is UTF-8.
          frame(opcodes.text, Buffer.from([0xff, 0xfe])),
        ];
        for (const bytes of broken) {
          const { client } = await openWebSocket(port, '/echo');
          client.send(bytes);
          const code = await closeCode(client);
          ok([1002, 1006, 1007].includes(code), `${code} for ${bytes.subarray(0, 8).toString('hex')}`);
          await workers[0].next('closed');
        }
        const { client } = await openWebSocket(port, '/echo');
        client.close();
      }),
  },
  {
    name: 'close() sends its code and reason',
    run: (context) =>
      withWebSockets(context, {}, async ({ port, workers }) => {
        const { client } = await openWebSocket(port, '/echo');
        client.send(frame(opcodes.text, Buffer.from('close')));
        const { opcode, payload } = await readFrame(client);
        deepEqual([opcode, payload.readUInt16BE(0), String(payload.subarray(2))], [opcodes.close, 4001, 'as told']);
        client.send(frame(opcodes.close, payload));
        await client.untilClosed();
        equal((await workers[0].next('closed')).code, 4001);
      }),
  },
  {
    name: 'destroy() cuts the connection without a close frame',
    run: (context) =>
      withWebSockets(context, {}, async ({ port, workers }) => {
        const { client } = await openWebSocket(port, '/echo');
        client.send(frame(opcodes.text, Buffer.from('destroy')));
        equal(await client.untilClosed(), '');
        equal((await workers[0].next('closed')).code, 1006);
      }),
  },
  {
    name: 'onClose() gives the code of the peer, or 1006 when the stream just ended',
    run: (context) =>
      withWebSockets(context, {}, async ({ port, workers }) => {
        const polite = await openWebSocket(port, '/echo');
        polite.client.send(frame(opcodes.close, Buffer.from([0x0f, 0xa5])));
        equal((await workers[0].next('closed')).code, 4005);
        await polite.client.untilClosed();
        const rude = await openWebSocket(port, '/echo');
        rude.client.close();
        equal((await workers[0].next('closed')).code, 1006);
      }),
  },
  {
    name: 'bufferedAmount shows a peer that does not read, and nothing is dropped',
    run: (context) =>
      withWebSockets(context, {}, async ({ port, workers }) => {
        const slow = await openWebSocket(port, '/echo');
        slow.client.pause();
        slow.client.send(frame(opcodes.text, Buffer.from('flood')));
        const { bytes, messageCount } = await workers[0].next('buffered');
        ok(bytes >= 4 * 1024 * 1024, `${bytes} bytes buffered`);
        // Others are served meanwhile.
        const quick = await openWebSocket(port, '/echo');
        quick.client.send(frame(opcodes.text, Buffer.from('meanwhile')));
        equal(String((await readFrame(quick.client)).payload), 'meanwhile');
        slow.client.resume();
        for (let i = 0; i < messageCount; i++) equal((await readFrame(slow.client)).payload.readUInt32BE(0), i);
        equal(String((await readFrame(slow.client)).payload), 'drained');
        slow.client.close();
        quick.client.close();
      }),
  },
  {
    name: 'serveWebSockets() cuts a peer that answers no ping, and keeps one that does',
    run: (context) =>
      // uWebSockets.js rounds this up to 8 s.
      withWebSockets(context, { idleTimeoutMs: 1_000 }, async ({ port, workers }) => {
        const silent = await openWebSocket(port, '/echo');
        const lively = new WebSocket(`ws://127.0.0.1:${port}/echo`);
        await once(lively, 'open');
        let pingCount = 0;
        lively.on('ping', () => pingCount++);
        await silent.client.untilClosed();
        equal((await workers[0].next('closed')).code, 1006);
        ok(pingCount > 0);
        lively.send('still here');
        equal(String((await once(lively, 'message'))[0]), 'still here');
        lively.terminate();
      }),
  },
  {
    name: 'serveWebSockets() cuts a handshake that does not come to an end',
    run: (context) =>
      withWebSockets(context, { handshakeTimeoutMs: 300 }, async ({ port }) => {
        const kept = await openWebSocket(port, '/echo');
        const silent = await RawClient.open(port);
        const dripping = await RawClient.open(port);
        dripping.send('GET /echo HTTP/1.1\r\nHost: a\r\nX-A: ');
        const drip = setInterval(() => dripping.send('b'), 50);
        await Promise.all([silent.untilClosed(), dripping.untilClosed()]);
        clearInterval(drip);
        kept.client.send(frame(opcodes.text, Buffer.from('still here')));
        equal(String((await readFrame(kept.client)).payload), 'still here');
        kept.client.close();
      }),
  },
  {
    name: 'serveWebSockets() closes connections above its maximum',
    run: (context) =>
      withWebSockets(context, { connectionsMax: 2 }, async ({ port, workers }) => {
        const first = await openWebSocket(port, '/echo');
        const second = await openWebSocket(port, '/echo');
        const surplus = await RawClient.open(port);
        surplus.send(upgradeRequest('/echo'));
        equal(await surplus.untilClosed(), '');
        first.client.close();
        await workers[0].next('closed');
        const third = await openWebSocket(port, '/echo');
        third.client.close();
        second.client.close();
      }),
  },
  {
    name: 'acceptWebSockets() spreads connections over the workers in turn',
    run: (context) =>
      withWebSockets(context, { workerCount: 2 }, async ({ port }) => {
        const counts = new Map<string, number>();
        for (let i = 0; i < 10; i++) {
          const { client } = await openWebSocket(port, '/echo');
          client.send(frame(opcodes.text, Buffer.from('who')));
          const who = String((await readFrame(client)).payload);
          counts.set(who, (counts.get(who) ?? 0) + 1);
          client.close();
        }
        deepEqual([...counts.values()], [5, 5]);
      }),
  },
  {
    name: 'acceptWebSockets() gives workers the address of the peer',
    run: (context) =>
      withWebSockets(context, {}, async ({ port }) => {
        const { client } = await openWebSocket(port, '/echo');
        client.send(frame(opcodes.text, Buffer.from('address')));
        equal(String((await readFrame(client)).payload), `127.0.0.1:${client.localPort}`);
        client.close();
      }),
  },
  {
    name: 'acceptWebSockets() refuses connections while it has no worker',
    run: (context) =>
      withWebSockets(context, { workerCount: 0 }, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(upgradeRequest('/echo'));
        equal(await client.untilClosed(), '');
      }),
  },
  {
    name: 'acceptWebSockets() goes on without a worker that threw',
    run: (context) =>
      withWebSockets(context, { workerCount: 2 }, async ({ port, acceptor, workers }) => {
        const clients = [await openWebSocket(port, '/echo'), await openWebSocket(port, '/echo')];
        clients[0].client.send(frame(opcodes.text, Buffer.from('throw')));
        await clients[0].client.untilClosed();
        await Promise.race(workers.map((worker) => worker.exited));
        while (acceptor.workerCount > 1) await new Promise((resolve) => setTimeout(resolve, 1));
        for (let i = 0; i < 4; i++) clients.push(await openWebSocket(port, '/echo'));
        for (const { client } of clients.slice(1)) {
          client.send(frame(opcodes.text, Buffer.from('here')));
          equal(String((await readFrame(client)).payload), 'here');
          client.close();
        }
      }),
  },
  {
    name: 'stop() says goodbye with its code',
    run: (context) =>
      withWebSockets(context, {}, async ({ port, workers }) => {
        const { client } = await openWebSocket(port, '/echo');
        const halfOpen = await RawClient.open(port);
        workers[0].worker.postMessage('stop');
        const { opcode, payload } = await readFrame(client);
        deepEqual([opcode, payload.readUInt16BE(0)], [opcodes.close, 1001]);
        client.send(frame(opcodes.close, payload));
        await Promise.all([client.untilClosed(), halfOpen.untilClosed()]);
        equal((await workers[0].next('closed')).code, 1001);
        equal(await workers[0].exited, 0);
      }),
  },
  {
    name: 'stop() leaves no thread and no handle behind',
    run: async (context) => {
      const [command, ...args] = context.nodeCommand;
      const script = fileURLToPath(new URL('./http-stop.child.ts', import.meta.url));
      // The child ends by itself, or the time limit ends it and this rejects.
      const { stdout } = await promisify(execFile)(command, [...args, script, context.adapter], { timeout: 15_000 });
      equal(stdout, 'stopped\n');
    },
  },
];

async function once(client: WebSocket, event: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    client.once(event, (...args: unknown[]) => resolve(args));
    client.once('error', reject);
  });
}

/** The code of the close frame that the server sends, or 1006 when it closes without one. */
async function closeCode(client: RawClient): Promise<number> {
  try {
    const { opcode, payload } = await readFrame(client);
    equal(opcode, opcodes.close);
    const code = payload.readUInt16BE(0);
    client.send(frame(opcodes.close, payload));
    await client.untilClosed();
    return code;
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('Cannot read on: the peer closed')) return 1006;
    throw error;
  }
}
