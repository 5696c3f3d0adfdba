/** The resources about alarms and slow subscriptions. */
import { describe, expect, it } from 'vitest';
import { alarmsRoutes } from '../../../../src/admin/api/alarms.ts';
import { slowSubscriptionsRoutes } from '../../../../src/admin/api/slow-subscriptions.ts';
import type { Alarm } from '../../../../src/core/ports/alarms.ts';
import type { HttpRequest, HttpRoute } from '../../../../src/net/http/port.ts';

async function ask(routes: readonly HttpRoute[], method: string, path: string, query = '') {
  const route = routes.find((each) => each.method === method && each.path === path);
  if (route === undefined) throw new Error(`there is no ${method} ${path}`);
  const { status, body } = await route.handler({ method, path, query } as HttpRequest);
  return { status, body: JSON.parse(String(body)) };
}

const alarm: Alarm = {
  ...{ name: 'disk-low', subject: '', message: 'm', value: 4, threshold: 5, unit: 'percent' },
  ...{ activatedAtMs: 1, deactivatedAtMs: null },
};

describe('alarmsRoutes()', () => {
  let past = [1, 2, 3].map((deactivatedAtMs) => ({ ...alarm, deactivatedAtMs }));
  const routes = alarmsRoutes({
    active: () => [alarm],
    history: () => past,
    clearHistory: () => past.splice(0).length,
  });

  it('lists those that are active and those that are over', async () => {
    expect(await ask(routes, 'GET', '/api/v1/alarms')).toEqual({ status: 200, body: { alarms: [alarm] } });
    const { body } = await ask(routes, 'GET', '/api/v1/alarms/history', 'limit=2');
    expect(body).toEqual({ alarms: past.slice(0, 2), isComplete: false });
    expect((await ask(routes, 'GET', '/api/v1/alarms/history')).body.isComplete).toBe(true);
  });

  it('refuses what it cannot understand', async () => {
    expect((await ask(routes, 'GET', '/api/v1/alarms/history', 'limit=0')).status).toBe(400);
    expect((await ask(routes, 'GET', '/api/v1/alarms/history', 'other=1')).status).toBe(400);
  });

  it('forgets those that are over', async () => {
    past = [...past];
    expect((await ask(routes, 'DELETE', '/api/v1/alarms/history')).body).toEqual({ deleted: 3 });
  });
});

describe('slowSubscriptionsRoutes()', () => {
  const slow = (clientId: string, delayMs: number) => ({ clientId, topic: 't', delayMs, lastAtMs: 1 });
  const asked: unknown[] = [];
  let missingCount = 0;
  const routes = slowSubscriptionsRoutes({
    ask: (subject, request) => {
      asked.push([subject, request]);
      const answers = [
        { isEnabled: true, slow: [slow('a', 3), slow('b', 1)] },
        null,
        { isEnabled: true, slow: [slow('c', 2)] },
      ];
      return Promise.resolve({ answers, missingCount });
    },
  });

  it('lists those of all workers, the slowest first', async () => {
    const { body } = await ask(routes, 'GET', '/api/v1/slow-subscriptions', 'limit=2');
    expect(body).toEqual({ isEnabled: true, subscriptions: [slow('a', 3), slow('c', 2)], missingWorkers: 0 });
  });

  it('clears the lists, and says when it could not', async () => {
    expect((await ask(routes, 'DELETE', '/api/v1/slow-subscriptions')).status).toBe(200);
    expect(asked.at(-1)).toEqual(['slow-subscriptions', { type: 'clear' }]);
    missingCount = 1;
    const { status, body } = await ask(routes, 'DELETE', '/api/v1/slow-subscriptions');
    expect([status, body.code]).toEqual([503, 'WORKERS_UNAVAILABLE']);
  });
});
