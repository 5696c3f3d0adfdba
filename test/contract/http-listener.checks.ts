/** The part of the HTTP contract that concerns plain HTTP on the main thread. */
import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { chooseHttpAdapter, loadHttpAdapter } from '../../src/net/http/choose.ts';
import { RawClient } from './http-clients.ts';
import { type ContractCheck, withHttp } from './http-fixture.ts';

export const listenerChecks: readonly ContractCheck[] = [
  {
    name: 'chooseHttpAdapter() gives the adapter that is asked for, and uWebSockets.js by itself where it loads',
    run: async (context) => {
      equal((await chooseHttpAdapter(context.adapter)).adapter.name, context.adapter);
      if (context.adapter === 'uws') equal((await chooseHttpAdapter('auto')).adapter.name, 'uws');
    },
  },
  {
    name: 'listen() keeps a connection for several requests',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        for (let i = 0; i < 3; i++) {
          client.send(get('/text'));
          const response = await client.response();
          equal(response.status, 200);
          equal(response.body, 'text');
          equal(response.headers.get('x-a'), 'b');
        }
        client.close();
      }),
  },
  {
    name: 'listen() answers pipelined requests in order',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(get('/text') + post('/echo', 'one') + get('/none') + post('/echo', 'two'));
        const answers = [];
        for (let i = 0; i < 4; i++) answers.push(await client.response());
        deepEqual(
          answers.map(({ status }) => status),
          [200, 201, 404, 201],
        );
        deepEqual([answers[1].body, answers[3].body], ['one', 'two']);
        client.close();
      }),
  },
  {
    name: 'listen() takes a request that arrives byte by byte',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        for (const byte of post('/echo', 'slow')) {
          client.send(byte);
          await new Promise((resolve) => setImmediate(resolve));
        }
        equal((await client.response()).body, 'slow');
        client.close();
      }),
  },
  {
    name: 'listen() answers HEAD like GET without the body',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(`HEAD /text HTTP/1.1\r\nHost: a\r\n\r\n${get('/text')}`);
        const head = await client.response(false);
        equal(head.status, 200);
        equal(head.headers.get('content-length'), '4');
        equal((await client.response()).body, 'text');
        client.close();
      }),
  },
  {
    name: 'listen() answers 404 for an unknown path',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        for (const path of ['/none', '/text/', '//text', '/__proto__', '/%2e%2e/text', '/text%00']) {
          equal(await statusOf(port, get(path)), 404, path);
        }
      }),
  },
  {
    name: 'listen() answers 405 with Allow for a wrong method',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        for (const method of ['POST', 'DELETE', 'OPTIONS', 'TRACE']) {
          client.send(`${method} /text HTTP/1.1\r\nHost: a\r\n\r\n`);
          const response = await client.response();
          equal(response.status, 405, method);
          equal(response.headers.get('allow'), 'GET, HEAD');
        }
        client.close();
      }),
  },
  {
    name: 'listen() gives handlers the query, the headers and the body',
    run: (context) =>
      withHttp(context, {}, async ({ port, requests }) => {
        const client = await RawClient.open(port);
        client.send(
          'POST /echo?a=1&b=%20 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-One: 2\r\n__proto__: x\r\nContent-Length: 2\r\n\r\nhi',
        );
        equal((await client.response()).status, 201);
        const [request] = requests;
        deepEqual([request.method, request.path, request.query], ['POST', '/echo', 'a=1&b=%20']);
        deepEqual([request.headers.get('x-one'), request.headers.get('__proto__')], ['1, 2', 'x']);
        deepEqual([request.body.toString(), request.remoteAddress], ['hi', '127.0.0.1']);
        client.close();
      }),
  },
  {
    name: 'listen() takes a chunked body',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(
          'POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n',
        );
        equal((await client.response()).body, 'abcde');
        client.close();
      }),
  },
  {
    name: 'listen() answers 413 for a body over the cap and closes',
    run: (context) =>
      withHttp(context, {}, async ({ port, requests }) => {
        equal(await statusThenClosed(port, post('/echo', 'x'.repeat(1_001))), 413);
        const declared = 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n';
        equal(await statusThenClosed(port, declared), 413);
        const chunk = `400\r\n${'y'.repeat(1_024)}\r\n`;
        const chunked = `POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}0\r\n\r\n`;
        equal(await statusThenClosed(port, chunked), 413);
        equal(await statusOf(port, post('/echo', 'x'.repeat(1_000))), 201);
        equal(requests.length, 1);
      }),
  },
  {
    name: 'listen() answers 500 and reports when a handler fails',
    run: (context) =>
      withHttp(context, {}, async ({ port, errors }) => {
        for (const path of ['/throws', '/rejects', '/splits']) equal(await statusOf(port, get(path)), 500, path);
        equal(errors.length, 3);
      }),
  },
  {
    name: 'listen() answers from a handler that takes its time',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(get('/later'));
        equal((await client.response()).body, 'later');
        const leaving = await RawClient.open(port);
        leaving.send(get('/later'));
        await new Promise((resolve) => setTimeout(resolve, 50));
        leaving.close();
        client.send(get('/later'));
        equal((await client.response()).body, 'later');
        client.close();
      }),
  },
  {
    name: 'listen() sends a large body whole to a slow reader',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const client = await RawClient.open(port);
        client.pause();
        client.send(get('/large'));
        await new Promise((resolve) => setTimeout(resolve, 200));
        client.resume();
        equal((await client.response()).body.length, 8 * 1024 * 1024);
        client.close();
      }),
  },
  {
    name: 'listen() refuses malformed requests and goes on',
    run: (context) =>
      withHttp(context, {}, async ({ port, requests }) => {
        const malformed = [
          'nonsense\r\n\r\n',
          '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
          'GET /seen HTTP/9.9\r\nHost: a\r\n\r\n',
          'GET /seen HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n',
          'GET /seen HTTP/1.1\r\nHost: a\r\nX-Nul: a\x00b\r\n\r\n',
          'GET /seen HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n',
          'GET /seen HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
          `GET /seen HTTP/1.1\r\nHost: a\r\nX-Long: ${'x'.repeat(100_000)}\r\n\r\n`,
        ];
        for (const request of malformed) {
          const client = await RawClient.open(port);
          client.send(request);
          const answer = await client.untilClosed();
          // Either end is sound: a status that says so, or a closed connection.
          if (answer !== '') match(answer, /^HTTP\/1\.1 (400|431|505) /, request.slice(0, 60));
        }
        equal(requests.length, 0);
        equal(await statusOf(port, get('/text')), 200);
      }),
  },
  {
    name: 'listen() cuts a request whose headers do not come to an end',
    run: (context) =>
      withHttp(context, { requestTimeoutMs: 300 }, async ({ port, requests }) => {
        const client = await RawClient.open(port);
        client.send('GET /seen HTTP/1.1\r\nHost: a\r\nX-A: ');
        const drip = setInterval(() => client.send('b'), 50);
        const answer = await client.untilClosed();
        clearInterval(drip);
        if (answer !== '') match(answer, /^HTTP\/1\.1 408 /);
        equal(requests.length, 0);
      }),
  },
  {
    name: 'listen() cuts a request whose body does not come to an end',
    run: (context) =>
      withHttp(context, { requestTimeoutMs: 300 }, async ({ port, requests }) => {
        const client = await RawClient.open(port);
        client.send('POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n');
        const drip = setInterval(() => client.send('x'), 20);
        const answer = await client.untilClosed();
        clearInterval(drip);
        if (answer !== '') match(answer, /^HTTP\/1\.1 408 /);
        equal(requests.length, 0);
      }),
  },
  {
    name: 'listen() closes a connection that never says anything',
    run: (context) =>
      withHttp(context, { requestTimeoutMs: 300 }, async ({ port }) => {
        const client = await RawClient.open(port);
        await client.untilClosed();
      }),
  },
  {
    name: 'listen() closes a connection that is idle after a response',
    run: (context) =>
      withHttp(context, { keepAliveTimeoutMs: 300 }, async ({ port }) => {
        const client = await RawClient.open(port);
        client.send(get('/text'));
        equal((await client.response()).status, 200);
        await client.untilClosed();
      }),
  },
  {
    name: 'listen() closes connections above the maximum',
    run: (context) =>
      withHttp(context, { connectionsMax: 2 }, async ({ port }) => {
        const kept = [await RawClient.open(port), await RawClient.open(port)];
        for (const client of kept) {
          client.send(get('/text'));
          equal((await client.response()).status, 200);
        }
        const surplus = await RawClient.open(port);
        surplus.send(get('/text'));
        equal(await surplus.untilClosed(), '');
        kept[0].close();
        await eventually(async () => (await statusOf(port, get('/text')).catch(() => 0)) === 200);
        kept[1].send(get('/text'));
        equal((await kept[1].response()).status, 200);
        kept[1].close();
      }),
  },
  {
    name: 'listen() rejects when the address is taken',
    run: (context) =>
      withHttp(context, {}, async ({ port }) => {
        const adapter = await loadHttpAdapter(context.adapter);
        await rejects(adapter.acceptWebSockets({ host: '127.0.0.1', port }), { code: 'HTTP_LISTEN_FAILED' });
      }),
  },
  {
    name: 'stop() lets a request in progress finish and closes idle connections',
    run: (context) =>
      withHttp(context, {}, async ({ port, listener }) => {
        const idle = await RawClient.open(port);
        idle.send(get('/text'));
        await idle.response();
        const busy = await RawClient.open(port);
        busy.send(get('/later'));
        await new Promise((resolve) => setTimeout(resolve, 50));
        const stopped = listener.stop(10_000);
        await idle.untilClosed();
        equal((await busy.response()).body, 'later');
        await busy.untilClosed();
        await stopped;
        await rejects(statusOf(port, get('/text')));
      }),
  },
];

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
}

function post(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

async function statusOf(port: number, request: string): Promise<number> {
  const client = await RawClient.open(port);
  client.send(request);
  const { status } = await client.response();
  client.close();
  return status;
}

async function statusThenClosed(port: number, request: string): Promise<number> {
  const client = await RawClient.open(port);
  client.send(request);
  const { status } = await client.response();
  await client.untilClosed();
  return status;
}

/** Asks again until it is so; the time-out of the test bounds it. */
async function eventually(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}
