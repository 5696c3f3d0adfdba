import { describe, expect, test } from 'vitest';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../../../src/net/http/port.ts';
import { asClosingMessage, failure, RouteTable } from '../../../../src/net/http/routing.ts';

function request(method: string, path: string): HttpRequest {
  return { method, path, query: '', headers: new Map(), body: Buffer.alloc(0), remoteAddress: '127.0.0.1' };
}

function route(path: string, response: HttpResponse, method: HttpRoute['method'] = 'GET'): HttpRoute {
  return { method, path, handler: () => response };
}

describe('RouteTable', () => {
  test('constructor throws when a route is registered twice', () => {
    const twice = [route('/a', { status: 200 }), route('/a', { status: 200 })];
    expect(() => new RouteTable(twice, () => undefined)).toThrow(/Cannot register "GET \/a"/);
  });

  test('answer() makes bytes of a text body and lower-case header names', () => {
    const table = new RouteTable([route('/a', { status: 200, headers: { 'X-A': 'b' }, body: 'é' })], () => undefined);
    expect(table.answer(request('GET', '/a'))).toMatchObject({
      status: 200,
      statusText: 'OK',
      headers: new Map([['x-a', 'b']]),
      body: Buffer.from('é'),
    });
  });

  test('answer() lets GET routes answer HEAD, and names what is allowed otherwise', async () => {
    const table = new RouteTable(
      [route('/a', { status: 200 }), route('/a', { status: 202 }, 'PUT'), route('/b', { status: 202 }, 'POST')],
      () => undefined,
    );
    expect(await table.answer(request('HEAD', '/a'))).toMatchObject({ status: 200 });
    expect((await table.answer(request('DELETE', '/a'))).headers.get('allow')).toBe('GET, HEAD, PUT');
    expect((await table.answer(request('HEAD', '/b'))).headers.get('allow')).toBe('POST');
  });

  test.each(['__proto__', '/__proto__', 'constructor', ''])('answer() does not find "%s"', async (path) => {
    const table = new RouteTable([route('/', { status: 200 })], () => undefined);
    expect((await table.answer(request('GET', path))).status).toBe(404);
    expect((await table.answer(request('__proto__', '/'))).status).toBe(405);
  });

  test('answer() asks for an upgrade on WebSocket paths only', async () => {
    const table = new RouteTable([], () => undefined, ['/socket']);
    const answer = await table.answer(request('GET', '/socket'));
    expect(answer.status).toBe(426);
    expect(answer.headers.get('upgrade')).toBe('websocket');
    expect((await table.answer(request('GET', '/sockets'))).status).toBe(404);
  });

  test.each([
    ['a status outside of 200..599', { status: 101 }],
    ['a fractional status', { status: 200.5 }],
    ['a line break in a header value', { status: 200, headers: { a: 'b\r\nc: d' } }],
    ['a bare line feed in a header value', { status: 200, headers: { a: 'b\nc' } }],
    ['a colon in a header name', { status: 200, headers: { 'a: b\r\nc': 'd' } }],
    ['an empty header name', { status: 200, headers: { '': 'd' } }],
  ])('answer() gives 500 and reports when a handler answers with %s', async (_, response) => {
    const errors: unknown[] = [];
    const table = new RouteTable([route('/a', response)], (error) => errors.push(error));
    expect((await table.answer(request('GET', '/a'))).status).toBe(500);
    expect(errors).toMatchObject([{ code: 'HTTP_RESPONSE_INVALID' }]);
  });

  test('answer() gives 500 when a promised response is not valid', async () => {
    const errors: unknown[] = [];
    const routes: HttpRoute[] = [{ method: 'GET', path: '/a', handler: async () => ({ status: 1 }) }];
    const table = new RouteTable(routes, (error) => errors.push(error));
    expect((await table.answer(request('GET', '/a'))).status).toBe(500);
    expect(errors).toHaveLength(1);
  });

  test('answer() waits for later routes, which several requests may ask for', async () => {
    const { promise, resolve } = Promise.withResolvers<readonly HttpRoute[]>();
    const table = new RouteTable(
      () => promise,
      () => undefined,
    );
    const answers = ['/a', '/b', '/a'].map((path) => table.answer(request('GET', path)));
    resolve([route('/a', { status: 202 })]);
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses).toEqual([202, 404, 202]);
    expect(table.answer(request('GET', '/a'))).toMatchObject({ status: 202 });
  });

  test('answer() gives 500 and reports while later routes cannot be had', async () => {
    const errors: unknown[] = [];
    const twice = [route('/a', { status: 200 }), route('/a', { status: 200 })];
    const attempts = [() => Promise.reject(new Error('no module')), async () => twice, async () => [twice[0]]];
    const table = new RouteTable(
      () => (attempts.shift() ?? (async () => []))(),
      (error) => errors.push(error),
    );
    for (const status of [500, 500, 200, 200]) {
      expect((await table.answer(request('GET', '/a'))).status).toBe(status);
    }
    expect(errors).toMatchObject([{ message: 'no module' }, { code: 'HTTP_ROUTE_TWICE' }]);
  });
});

test('asClosingMessage() writes a whole response', () => {
  expect(String(asClosingMessage(failure(404)))).toBe(
    'HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 22\r\nconnection: close\r\n\r\n{"error":"Not Found"}\n',
  );
});
