/** Routes that nobody publishes to must not keep subscribers that have gone. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { publish, Reader, RouterGroup, routeOf } from '../../../support/routers.ts';

let group: RouterGroup;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  group = new RouterGroup(1);
});
afterEach(() => {
  group.stop();
  vi.useRealTimers();
});

describe('unsubscribe()', () => {
  for (const filter of ['a/b', 'a/+']) {
    it(`lets routes go of the subscriber of ${filter} soon, and they are made anew when published to`, () => {
      const [router] = group.routers;
      const reader = new Reader();
      const subscription = reader.on(router, filter);
      publish(router, 'a/b', 'one');
      const route = routeOf(router, 'a/b');
      expect(route.targets).toHaveLength(1);
      router.unsubscribe(subscription);
      vi.advanceTimersByTime(5_000);
      expect(route.targets).toEqual([]);

      reader.on(router, filter);
      publish(router, 'a/b', 'two');
      expect(reader.received).toEqual(['one', 'two']);
      expect(routeOf(router, 'a/b')).toBe(route);
    });
  }

  it('leaves routes alone that other subscriptions do not touch', () => {
    const [router] = group.routers;
    const reader = new Reader();
    reader.on(router, 'a/b');
    publish(router, 'a/b', 'one');
    router.unsubscribe(reader.on(router, 'c'));
    vi.advanceTimersByTime(5_000);
    expect(routeOf(router, 'a/b').targets).toHaveLength(1);
  });

  it('leaves no timer behind after stop()', () => {
    const [router] = group.routers;
    new Reader().on(router, 'a');
    expect(vi.getTimerCount()).toBe(1);
    router.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});
