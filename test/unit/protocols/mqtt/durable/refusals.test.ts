/** What clients are told while stored sessions are not there: not known yet, not open, or not to be stored. */
import { describe, expect, it } from 'vitest';
import type { SessionSlots } from '../../../../../src/core/ports/session-slots.ts';
import { SessionInterest } from '../../../../../src/core/sessions/interest.ts';
import type { MessageRun, NewMessage } from '../../../../../src/core/sessions/message-record.ts';
import { SessionError } from '../../../../../src/core/sessions/session-error.ts';
import { MqttHost } from '../../../../support/mqtt/mqtt-host.ts';

type Done = (error: SessionError | null, offset: number) => void;

/** Slots that do what the test says. */
class TestSlots {
  readonly interest = new SessionInterest(null);
  isSettled = true;
  own: unknown = null;
  failure: SessionError | null = null;
  hasRoom = false;
  sessionCount = 0;
  subscriptionCounts = { subscriptions: 0, shared: 0, subscribers: 0 };
  opens = 0;
  openError = new SessionError('SESSION_STORAGE_FAILED', 'Cannot store');
  readonly published: { readonly message: NewMessage; readonly done: Done }[] = [];
  private ready: (() => void)[] = [];

  use(): void {
    // Nobody is told anything here.
  }

  has(): boolean {
    return false;
  }

  ownerOf(): null {
    return null;
  }

  async bringHome(): Promise<void> {
    // Nothing is anywhere.
  }

  open(): Promise<never> {
    this.opens += 1;
    return Promise.reject(this.openError);
  }

  whenReady(callback: () => void): void {
    this.ready.push(callback);
  }

  tell(): void {
    for (const callback of this.ready.splice(0)) callback();
  }

  /** The slot is open, and the test answers for it. */
  beginOpen(): void {
    this.hasRoom = true;
    this.own = {
      // Each message of a run has an answer of its own, as if none had gone into the same batch.
      publishRun: (
        { source, places, count, ...head }: MessageRun,
        done: (...told: [...Parameters<Done>, number]) => void,
      ) => {
        for (let at = 0; at < count; at++) {
          const body = Buffer.from(source.subarray(places[2 * at], places[2 * at + 1]));
          this.published.push({ message: { ...head, body }, done: (error, offset) => done(error, offset, 1) });
        }
      },
    };
  }
}

function hostOver(slots: TestSlots): MqttHost {
  return new MqttHost({}, 1_048_576, undefined, slots as unknown as SessionSlots);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const publish = (
  messageId: number,
  qos: number,
  topic = 'kept',
): { readonly cmd: string } & Record<string, unknown> => ({
  ...{ cmd: 'publish', topic, payload: `${messageId}`, qos, messageId, retain: false, dup: false },
});

describe('CONNECT', () => {
  it('of a session that cannot be stored is refused with Server unavailable', async () => {
    for (const [level, code] of [
      [4, { returnCode: 3 }],
      [5, { reasonCode: 0x88 }],
    ] as const) {
      const host = hostOver(new TestSlots());
      const properties = level === 5 ? { sessionExpiryInterval: 9 } : undefined;
      const { client } = host.tryConnect({ level, clean: false, clientId: 'c', ...(properties && { properties }) });
      await turn();
      expect(client.take()).toMatchObject([{ cmd: 'connack', sessionPresent: false, ...code }]);
      expect(client.connection.closed).toBe(true);
    }
  });

  it('beyond the bound of stored sessions is refused with Quota exceeded', async () => {
    const slots = new TestSlots();
    slots.openError = new SessionError('SESSION_LIMIT', 'Too many');
    const properties = { sessionExpiryInterval: 9 };
    const { client } = hostOver(slots).tryConnect({ level: 5, clean: false, clientId: 'c', properties });
    await turn();
    expect(client.take()).toMatchObject([{ cmd: 'connack', reasonCode: 0x97 }]);
  });

  it('waits until it is known which sessions are stored, and is refused when that takes too long', async () => {
    const slots = new TestSlots();
    slots.isSettled = false;
    const host = hostOver(slots);
    const { client, connack } = host.tryConnect({ level: 5, clientId: 'c' });
    expect(connack).toBeUndefined();
    slots.isSettled = true;
    slots.tell();
    host.settle();
    expect(client.take()).toMatchObject([{ cmd: 'connack', reasonCode: 0 }]);
    slots.isSettled = false;
    const late = host.tryConnect({ level: 5, clientId: 'late' });
    host.pass(6_000);
    expect(late.client.take()).toMatchObject([{ cmd: 'connack', reasonCode: 0x88 }]);
  });

  it('of a session that ends with its connection needs no storage', () => {
    const slots = new TestSlots();
    expect(hostOver(slots).tryConnect({ level: 5, clientId: 'c' }).connack).toMatchObject({ reasonCode: 0 });
    expect(slots.opens).toBe(0);
  });
});

describe('PUBLISH', () => {
  it('that nobody stored wants is acknowledged at once; QoS 0 always goes live', () => {
    const slots = new TestSlots();
    slots.interest.add('kept');
    slots.failure = slots.openError;
    const host = hostOver(slots);
    const reader = host.connect({ level: 5 });
    reader.subscribe('#', { qos: 1 });
    const client = host.connect({ level: 5 });
    client.send(publish(1, 1, 'other'));
    expect(client.take()).toMatchObject([{ cmd: 'puback', messageId: 1 }]);
    client.publish('kept', 'zero');
    expect(reader.payloads()).toEqual(['1', 'zero']);
  });

  it('that cannot be stored is refused, and nobody gets it; before MQTT 5 the connection ends', () => {
    const slots = new TestSlots();
    slots.interest.add('kept');
    slots.failure = slots.openError;
    const host = hostOver(slots);
    const reader = host.connect({ level: 5 });
    reader.subscribe('#', { qos: 2 });
    const client = host.connect({ level: 5 });
    client.send(publish(1, 1), publish(2, 2));
    expect(client.take()).toMatchObject([
      { cmd: 'puback', messageId: 1, reasonCode: 0x83 },
      { cmd: 'pubrec', messageId: 2, reasonCode: 0x83 },
    ]);
    const old = host.connect({ level: 4 });
    old.send(publish(3, 1));
    expect(old.take()).toEqual([]);
    expect(old.connection.closed).toBe(true);
    expect(reader.payloads()).toEqual([]);
  });

  it('is acknowledged when it is stored, and those behind it after it', () => {
    const slots = new TestSlots();
    slots.interest.add('kept');
    slots.beginOpen();
    const host = hostOver(slots);
    const reader = host.connect({ level: 5 });
    reader.subscribe('#', { qos: 1 });
    const client = host.connect({ level: 5 });
    client.send(publish(1, 1), publish(2, 1, 'other'), publish(3, 2), publish(4, 2));
    expect(reader.payloads()).toHaveLength(4);
    expect(client.take()).toEqual([]);
    const [first, third, fourth] = slots.published;
    expect([first.message.topicBytes, first.message.body].map(String)).toEqual(['kept', '1']);
    third.done(null, 1);
    expect(client.take()).toEqual([]);
    first.done(null, 0);
    expect(client.take()).toMatchObject([
      { cmd: 'puback', messageId: 1 },
      { cmd: 'puback', messageId: 2 },
    ]);
    fourth.done(slots.openError, -1);
    expect(client.take()).toMatchObject([
      { cmd: 'pubrec', messageId: 3, reasonCode: 0 },
      { cmd: 'pubrec', messageId: 4, reasonCode: 0x83 },
    ]);
    // What was refused may come again with its identifier.
    client.send(publish(4, 2));
    expect(slots.published).toHaveLength(4);
  });

  it('waits, with everything behind it, until there is room', () => {
    const slots = new TestSlots();
    slots.interest.add('kept');
    slots.beginOpen();
    slots.hasRoom = false;
    const host = hostOver(slots);
    const client = host.connect({ level: 5 });
    client.send(publish(1, 1), publish(2, 1, 'other'));
    expect([client.take(), slots.published]).toEqual([[], []]);
    slots.hasRoom = true;
    slots.tell();
    host.settle();
    expect(slots.published).toHaveLength(1);
    slots.published[0].done(null, 0);
    expect(client.take().map(({ messageId }) => messageId)).toEqual([1, 2]);
  });
});
