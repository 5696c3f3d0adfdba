/** The small parts of a session's state: identifiers received, the queue, aliases, and the way to another worker. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MessageQueue } from '../../../../../src/protocols/mqtt/state/message-queue.ts';
import { OutgoingAliases } from '../../../../../src/protocols/mqtt/state/outgoing-aliases.ts';
import { Flight } from '../../../../../src/protocols/mqtt/state/outgoing-window.ts';
import { PacketIdSet } from '../../../../../src/protocols/mqtt/state/packet-id-set.ts';
import { Session } from '../../../../../src/protocols/mqtt/state/session.ts';
import { headOf, restOf, restore } from '../../../../../src/protocols/mqtt/state/session-transfer.ts';
import type { StoredMessage } from '../../../../../src/protocols/mqtt/state/stored-message.ts';
import { MqttSubscription } from '../../../../../src/protocols/mqtt/state/subscription.ts';

function message(text: string, epoch = 0): StoredMessage {
  const bytes = Buffer.from(`<${text}>`);
  return {
    layout: 5,
    bytes,
    start: 1,
    end: 1 + text.length,
    qos: 2,
    retain: 1,
    identifiers: Uint8Array.of(11, 7),
    expiresAtMs: 99,
    share: null,
    epoch,
  };
}

const textOf = ({ bytes, start, end }: StoredMessage): string => bytes.toString('utf8', start, end);

describe('PacketIdSet', () => {
  it('does what a set does', () => {
    const change = fc.record({ id: fc.constantFrom(1, 2, 31, 32, 33, 1_000, 65_534, 65_535), adds: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const set = new PacketIdSet();
        const model = new Set<number>();
        for (const { id, adds } of changes) {
          expect(set.has(id)).toBe(model.has(id));
          if (adds) {
            set.add(id);
            model.add(id);
          } else {
            expect(set.delete(id)).toBe(model.delete(id));
          }
          expect(set.size).toBe(model.size);
        }
        expect(set.values()).toEqual([...model].sort((one, other) => one - other));
      }),
    );
  });

  it('holds nothing before its first use', () => {
    const set = new PacketIdSet();
    expect([set.has(1), set.delete(1), set.size, set.values()]).toEqual([false, false, 0, []]);
  });
});

describe('MessageQueue', () => {
  it('does what an array does, and counts its bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: -2_000, max: -1 })), { maxLength: 12 }),
        (counts) => {
          const queue = new MessageQueue();
          const model: StoredMessage[] = [];
          let number = 0;
          for (const count of counts) {
            for (let index = 0; index < count; index++) {
              const stored = message(`${number++}`);
              queue.push(stored);
              model.push(stored);
            }
            for (let index = 0; index > count; index--) expect(queue.shift()).toBe(model.shift());
            expect(queue.length).toBe(model.length);
            expect(queue.bytes).toBe(model.reduce((sum, { start, end }) => sum + end - start, 0));
          }
          expect(queue.toArray()).toEqual(model);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('OutgoingAliases', () => {
  it('gives each topic one alias, new at first, until all are taken', () => {
    const aliases = new OutgoingAliases(2);
    const lookup = (topic: string): [number, boolean] => [aliases.lookup(topic), aliases.isKnown];
    expect(lookup('__proto__')).toEqual([1, false]);
    expect(lookup('__proto__')).toEqual([1, true]);
    expect(lookup('b')).toEqual([2, false]);
    expect(lookup('c')).toEqual([0, false]);
    expect(lookup('b')).toEqual([2, true]);
    expect(lookup('c')).toEqual([0, false]);
  });
});

describe('a session that moves', () => {
  const options = { qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2, identifier: 9 } as const;
  const subscriber = { createTarget: () => ({ deliver: () => undefined }) };

  function sessionWith(waiting: readonly StoredMessage[]): Session {
    const session = new Session('client', 100);
    session.expiryS = 77;
    for (const path of ['a/+', '$share/g/b']) {
      session.subscriptions.set(path, new MqttSubscription(path, path.replace('$share/g/', ''), subscriber, options));
    }
    session.window.restore(65_535, Flight.AWAITS_PUBREC, message('flying'));
    session.window.restore(1, Flight.AWAITS_PUBCOMP, null);
    session.window.restore(2, Flight.AWAITS_PUBACK, message('second'));
    for (const id of [3, 65_535]) session.receivedIds.add(id);
    session.queue = new MessageQueue();
    for (const each of waiting) session.queue.push(each);
    return session;
  }

  it('arrives with everything after a structured clone', () => {
    const session = sessionWith([message('one', 1), message('two', 2)]);
    const head = structuredClone(headOf(session));
    expect(head).toEqual({
      expiryS: 77,
      subscriptions: [
        { path: 'a/+', filter: 'a/+', options },
        { path: '$share/g/b', filter: 'b', options },
      ],
    });
    const rest = structuredClone(restOf(session, 10));
    const next = new Session('client', 100);
    restore(next, rest);
    const flights: [number, number, string | null][] = [];
    next.window.forEach((id, state, stored) => void flights.push([id, state, stored === null ? null : textOf(stored)]));
    expect(flights).toEqual([
      [65_535, Flight.AWAITS_PUBREC, 'flying'],
      [1, Flight.AWAITS_PUBCOMP, null],
      [2, Flight.AWAITS_PUBACK, 'second'],
    ]);
    expect(next.window.take(Flight.AWAITS_PUBACK, null)).toBe(3);
    expect(next.receivedIds.values()).toEqual([3, 65_535]);
    const [first] = next.queue?.toArray() ?? [];
    expect(Buffer.isBuffer(first.bytes)).toBe(true);
    expect(next.queue?.toArray().map(textOf)).toEqual(['one', 'two']);
    expect(next.queue?.bytes).toBe(6);
    expect({ ...first, bytes: null, start: 0, end: 0 }).toEqual({
      ...message('one', 1),
      bytes: null,
      start: 0,
      end: 0,
    });
  });

  it('leaves out what was routed at the epoch or later, also around the end of the numbers', () => {
    const rest = (epochs: readonly number[], epoch: number): string[] =>
      restOf(sessionWith(epochs.map((each) => message(`${each}`, each))), epoch).waiting.map(textOf);
    expect(rest([4, 5, 6, 3], 5)).toEqual(['4', '3']);
    expect(rest([0x7fffffff, 0x80000000 | 0], 0x80000000 | 0)).toEqual([`${0x7fffffff}`]);
    expect(rest([0xffffffff, 0], 0)).toEqual([`${0xffffffff}`]);
  });

  it('keeps what came first in front of what the new owner got meanwhile', () => {
    const next = new Session('client', 100);
    next.queue = new MessageQueue();
    next.queue.push(message('new', 12));
    restore(next, structuredClone(restOf(sessionWith([message('old', 1)]), 10)));
    expect(next.queue?.toArray().map(textOf)).toEqual(['old', 'new']);
  });

  it('hands over no bytes of other messages', () => {
    const shared = Buffer.from('secret one two');
    const stored = { ...message('x'), bytes: shared, start: 7, end: 10 };
    const { waiting } = restOf(sessionWith([stored]), 10);
    expect(waiting[0].bytes.toString()).toBe('one');
    // Cloning a view clones the whole buffer under it.
    expect(waiting[0].bytes.buffer.byteLength).toBe(3);
  });
});
