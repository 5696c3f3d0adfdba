/** The list of slow subscriptions: what counts, what stays, what is bounded. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SlowSubscriptions } from '../../../../../src/protocols/mqtt/system/slow-subscriptions.ts';
import { TimingWheel } from '../../../../../src/std/timing-wheel.ts';

const settings = { enabled: true, statistics: 'whole', thresholdMs: 100, topCount: 3, expiryS: 60 } as const;

let nowMs = 0;
beforeEach(() => {
  nowMs = 1_000;
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  vi.spyOn(Date, 'now').mockImplementation(() => nowMs);
});
afterEach(() => {
  vi.restoreAllMocks();
});

function create(more: Partial<ConstructorParameters<typeof SlowSubscriptions>[0]> = {}) {
  const timers = new TimingWheel(100);
  const slow = new SlowSubscriptions({ ...settings, ...more }, timers);
  const pass = (ms: number): void => {
    nowMs += ms;
    timers.advance(timers.tick + Math.ceil(ms / 100));
  };
  return { slow, pass };
}

/** One message that waits, is sent and is acknowledged. */
function deliver(slow: SlowSubscriptions, clientId: string, topic: string, waitMs: number, answerMs: number): void {
  const message = {};
  const receiver = { clientId };
  slow.waits(message);
  nowMs += waitMs;
  slow.sent(receiver, 1, Buffer.from(`--${topic}--`), placeOf(topic), slow.arrivalOf(message));
  nowMs += answerMs;
  slow.acknowledged(receiver, 1);
}

function placeOf(topic: string) {
  return { topicStart: 2, topicLength: Buffer.byteLength(topic) };
}

describe('SlowSubscriptions', () => {
  it.each([
    ['whole', 200],
    ['internal', 120],
    ['response', undefined],
  ] as const)('measures the %s time', (statistics, delayMs) => {
    const { slow } = create({ statistics });
    deliver(slow, 'c', 't', 120, 80);
    expect(slow.slowest()[0]?.delayMs).toBe(delayMs);
  });

  it('keeps the slowest pairs, the worst delay of each', () => {
    const { slow } = create();
    deliver(slow, 'a', 't', 0, 99);
    for (const [client, delayMs] of [
      ['a', 300],
      ['b', 200],
      ['a', 150],
      ['c', 400],
      ['d', 150],
      ['e', 250],
    ] as const) {
      deliver(slow, client, 't', 0, delayMs);
    }
    expect(slow.slowest().map(({ clientId, delayMs }) => [clientId, delayMs])).toEqual([
      ['c', 400],
      ['a', 300],
      ['e', 250],
    ]);
    slow.clear();
    expect(slow.slowest()).toEqual([]);
  });

  it('forgets pairs that are not slow any more, and messages of clients that went away', () => {
    const { slow, pass } = create();
    deliver(slow, 'a', 't', 0, 300);
    pass(65_000);
    pass(10_000);
    expect(slow.slowest()).toEqual([]);
    const receiver = { clientId: 'b' };
    slow.sent(receiver, 1, Buffer.from('--t--'), placeOf('t'), nowMs);
    slow.forget(receiver);
    nowMs += 1_000;
    slow.acknowledged(receiver, 1);
    slow.acknowledged(receiver, 2);
    expect(slow.slowest()).toEqual([]);
  });

  it('measures QoS 0 until the output is written', () => {
    const { slow, pass } = create();
    const connection = { closed: false, outputBytes: 10 };
    slow.queued({ session: { clientId: 'c' }, connection }, Buffer.from('t'));
    slow.queued({ session: null, connection }, Buffer.from('t'));
    pass(100);
    pass(100);
    expect(slow.slowest().map(({ clientId, topic }) => [clientId, topic])).toEqual([['c', 't']]);
    connection.outputBytes = 0;
    pass(200);
    const [{ delayMs }] = slow.slowest();
    pass(200);
    expect(slow.slowest()[0].delayMs).toBe(delayMs);
  });

  it('cuts long texts', () => {
    const { slow } = create();
    deliver(slow, 'i'.repeat(60_000), 'ü'.repeat(3_000), 0, 300);
    const [{ clientId, topic }] = slow.slowest();
    expect([clientId.length, topic.length]).toEqual([1_025, 1_025]);
  });
});
