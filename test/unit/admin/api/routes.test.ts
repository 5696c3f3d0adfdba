/** The administration API over a real listener: what a scraper or a probe gets. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Liveness, Readiness } from '../../../../src/admin/api/health.ts';
import { adminRoutes } from '../../../../src/admin/api/routes.ts';
import { loadHttpAdapter } from '../../../../src/net/http/choose.ts';
import type { HttpListener } from '../../../../src/net/http/port.ts';

let listener: HttpListener;
let readiness: Readiness;
let liveness: Liveness;
let errors: unknown[];

beforeEach(async () => {
  readiness = { ready: false, reason: 'starting' };
  liveness = { alive: true };
  errors = [];
  const adapter = await loadHttpAdapter('node');
  listener = await adapter.listen({
    host: '127.0.0.1',
    port: 0,
    routes: adminRoutes({
      identity: { name: 'ringmq', version: '1.2.3' },
      health: { ready: () => readiness, alive: () => liveness },
      metrics: { exposition: () => '# TYPE a counter\na 1\n' },
    }),
    limits: { bodyBytesMax: 0, connectionsMax: 10, requestTimeoutMs: 5_000, keepAliveTimeoutMs: 5_000 },
    onHandlerError: (error) => errors.push(error),
  });
});

afterEach(async () => {
  await listener.stop(0);
  expect(errors).toEqual([]);
});

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${listener.port}${path}`, init);
}

describe('adminRoutes()', () => {
  test('GET / says who answers and where the rest is', async () => {
    const response = await ask('/');
    expect(response.status).toBe(200);
    const body = (await response.json()) as { links: string[] };
    expect(body).toEqual({ name: 'ringmq', version: '1.2.3', links: ['/metrics', '/livez', '/readyz'] });
    for (const link of body.links) expect((await ask(link)).status, link).not.toBe(404);
  });

  test('GET /metrics gives the exposition with its content type', async () => {
    const response = await ask('/metrics?name=a');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await response.text()).toBe('# TYPE a counter\na 1\n');
  });

  test('GET /readyz is 503 with the reason until ready and again while draining', async () => {
    const starting = await ask('/readyz');
    expect([starting.status, await starting.json()]).toEqual([503, { ready: false, reason: 'starting' }]);
    readiness = { ready: true };
    const ready = await ask('/readyz');
    expect([ready.status, await ready.json()]).toEqual([200, { ready: true }]);
    readiness = { ready: false, reason: 'draining' };
    expect((await ask('/readyz')).status).toBe(503);
  });

  test('GET /livez is independent of readiness', async () => {
    expect((await ask('/livez')).status).toBe(200);
    liveness = { alive: false, reason: 'worker 0 stalls' };
    const response = await ask('/livez');
    expect([response.status, await response.json()]).toEqual([503, { alive: false, reason: 'worker 0 stalls' }]);
  });

  test.each(['/', '/metrics', '/livez', '/readyz'])('HEAD %s is GET without the body', async (path) => {
    const [head, get] = [await ask(path, { method: 'HEAD' }), await ask(path)];
    expect(head.status).toBe(get.status);
    expect(head.headers.get('content-length')).toBe(String((await get.arrayBuffer()).byteLength));
    expect(await head.text()).toBe('');
  });

  test.each(['/', '/metrics', '/livez', '/readyz'])('%s has the security headers', async (path) => {
    const { headers } = await ask(path);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toBe('no-store');
  });

  test('other methods and paths are refused', async () => {
    expect((await ask('/metrics', { method: 'POST' })).status).toBe(405);
    expect((await ask('/metrics', { method: 'POST', body: 'x' })).status).toBe(413);
    expect((await ask('/metrics/')).status).toBe(404);
  });
});
