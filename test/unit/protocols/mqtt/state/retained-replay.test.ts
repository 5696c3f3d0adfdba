/** What one client is still to be sent of the retained messages, and in which order with live ones. */
import { describe, expect, it } from 'vitest';
import { RetainedReplica } from '../../../../../src/core/broker/retained-replica.ts';
import { type ReplaySource, RetainedReplay } from '../../../../../src/protocols/mqtt/state/retained-replay.ts';

class Values {
  readonly replica = new RetainedReplica({ countMax: 1_000, bytesMax: 1_000_000 }, new SharedArrayBuffer(8));
  readonly walked: string[] = [];
  readonly source: ReplaySource;
  readonly replay: RetainedReplay;

  constructor(extras: readonly string[] = []) {
    const { replica, walked } = this;
    this.source = {
      get latestStamp() {
        return replica.latestStamp;
      },
      walk: (filter) => {
        walked.push(filter);
        return replica.walk(filter);
      },
      get: (topic) => replica.get(topic),
    };
    const place = { layout: 5, qos: 0, retain: 1, identifier: 0, expiresAtS: 0 } as const;
    this.replay = new RetainedReplay(this.source, () => extras.map((text) => ({ frame: Buffer.from(text), ...place })));
  }

  set(topic: string, text: string): void {
    const stamp = this.replica.nextStamp();
    const details = { detailA: 0b11, detailB: 0, detailC: 0 }; // QoS 1, retain
    this.replica.keep(topic, { layout: 5, frame: text, ...details, stamp, storedAtMs: 0, expiresAtS: 0, tenant: '' });
  }

  add(filter: string, qos: 0 | 1 | 2 = 0): void {
    this.replay.add({ filter, qos, identifier: 0 });
  }

  /** Sends up to `count` messages. */
  send(count = Number.POSITIVE_INFINITY): string[] {
    const sent: string[] = [];
    while (sent.length < count) {
      const { due } = this.replay;
      if (due !== null) {
        sent.push(due.frame.toString());
        this.replay.sent();
      } else if (!this.replay.advance(0)) break;
    }
    return sent;
  }

  ahead(topic: string, filter: string): string | null {
    return this.replay.takeAhead(topic, filter)?.frame.toString() ?? null;
  }
}

describe('advance()', () => {
  it('walks for one subscription at a time, in order, those without a match too', () => {
    const values = new Values();
    values.set('a', '1');
    values.set('b', '2');
    for (const filter of ['a', 'none', 'b']) values.add(filter);
    expect(values.walked).toEqual([]);
    expect(values.send(1)).toEqual(['1']);
    expect(values.walked).toEqual(['a']);
    expect(values.send()).toEqual(['2']);
    expect(values.walked).toEqual(['a', 'none', 'b']);
    expect(values.replay.advance(0)).toBe(false);
    values.add('a');
    expect(values.send()).toEqual(['1']);
  });

  it('leaves out what is newer than the subscription, which comes as a live message', () => {
    const values = new Values();
    for (const topic of ['t/1', 't/2', 't/3']) values.set(topic, topic);
    values.add('t/#');
    values.set('t/2', 'newer');
    values.set('t/4', 'new');
    values.replica.forget('t/3', values.replica.nextStamp());
    expect(values.send()).toEqual(['t/1']);
  });

  it('sends what else there is behind the values', () => {
    const values = new Values(['x', 'y']);
    values.set('a', '1');
    values.add('#');
    expect(values.send()).toEqual(['1', 'x', 'y']);
  });

  it('gives the lower QoS of message and subscription', () => {
    const values = new Values();
    values.set('a', '1');
    for (const [qos, expected] of [0, 1, 1].entries()) {
      values.add('a', qos as 0 | 1 | 2);
      while (values.replay.due === null) values.replay.advance(0);
      expect(values.replay.due.qos).toBe(expected);
    }
  });
});

describe('takeAhead()', () => {
  it('answers the value that waits, once', () => {
    const values = new Values();
    for (const topic of ['t/1', 't/2', 't/3']) values.set(topic, topic);
    values.add('t/#');
    expect(values.ahead('t/2', 't/#')).toBe('t/2');
    expect(values.ahead('t/2', 't/#')).toBeNull();
    expect(values.ahead('t/2', 'other/#')).toBeNull();
    expect(values.ahead('t/4', 't/#')).toBeNull();
    expect(values.send().sort()).toEqual(['t/1', 't/3']);
  });

  it('answers the message whose turn it is just then, and nothing that was sent', () => {
    const values = new Values();
    for (const topic of ['t/1', 't/2']) values.set(topic, topic);
    values.add('t/#');
    const [sent] = values.send(1);
    const other = sent === 't/1' ? 't/2' : 't/1';
    while (values.replay.due === null) values.replay.advance(0);
    expect(values.ahead(sent, 't/#')).toBeNull();
    expect(values.ahead(other, 't/#')).toBe(other);
    expect(values.send()).toEqual([]);
  });

  it('answers nothing for a value that is the live message itself', () => {
    const values = new Values();
    values.set('t/1', 'old');
    values.add('t/#');
    values.set('t/1', 'new');
    expect(values.ahead('t/1', 't/#')).toBeNull();
    expect(values.send()).toEqual([]);
  });
});

describe('missed()', () => {
  it('has a newer value sent in its turn, since its live message was dropped', () => {
    const values = new Values();
    for (const topic of ['t/1', 't/2']) values.set(topic, 'old');
    values.add('t/#');
    values.set('t/2', 'new');
    values.replay.missed('t/2', 't/#');
    expect(values.send().sort()).toEqual(['new', 'old']);
  });
});

describe('drop()', () => {
  it('ends the subscription that is being walked over, and those that wait', () => {
    const values = new Values();
    for (const topic of ['a/1', 'a/2', 'b/1']) values.set(topic, topic);
    for (const filter of ['a/#', 'b/#', '#']) values.add(filter);
    values.send(1);
    while (values.replay.due === null) values.replay.advance(0);
    for (const filter of ['a/#', '#', 'unknown']) values.replay.drop(filter);
    expect(values.replay.due).toBeNull();
    expect(values.send()).toEqual(['b/1']);
  });

  it('add() of the same filter begins anew', () => {
    const values = new Values();
    for (const topic of ['a/1', 'a/2']) values.set(topic, topic);
    values.add('a/#');
    values.send(1);
    values.add('a/#');
    expect(values.send().sort()).toEqual(['a/1', 'a/2']);
  });
});
