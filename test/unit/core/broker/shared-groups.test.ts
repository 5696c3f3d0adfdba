/** Shared groups over routers of several workers; the control plane's broadcasts are in the test's hand. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { publish, Reader, RouterGroup, type RouterGroupOptions, runOf, turn, until } from '../../../support/routers.ts';

let group: RouterGroup;

function start(workerCount: number, options: RouterGroupOptions = {}): RouterGroup {
  group = new RouterGroup(workerCount, options);
  return group;
}

function join(worker: number, name: string, filter: string): { reader: Reader; id: number; isKnown: () => boolean } {
  const reader = new Reader();
  let known = false;
  const id = group.routers[worker].groups.join(name, filter, reader, () => {
    known = true;
  });
  return { reader, id, isKnown: () => known };
}

function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `${from + index}`);
}

const sorted = (texts: readonly string[]): string[] => [...texts].sort((one, other) => Number(one) - Number(other));

afterEach(() => group.stop());

describe('join()', () => {
  it('gives every publication to one member, in turn, whichever worker publishes', () => {
    const { routers } = start(3);
    const members = [join(0, 'g', 'jobs/+'), join(1, 'g', 'jobs/+'), join(2, 'g', 'jobs/+'), join(2, 'g', 'jobs/+')];
    for (let index = 0; index < 60; index++) expect(publish(routers[index % 3], 'jobs/a', `${index}`)).toBe(true);
    group.catchUp();
    expect(sorted(members.flatMap(({ reader }) => reader.received))).toEqual(numbers(60));
    for (const { reader } of members) expect(reader.received.length).toBe(15);
  });

  it('splits a run among the members', () => {
    const { routers } = start(2);
    const members = [join(0, 'g', 'jobs'), join(1, 'g', 'jobs'), join(1, 'g', 'jobs')];
    publish(routers[0], 'jobs', ...numbers(30));
    group.catchUp();
    expect(members.map(({ reader }) => reader.received.length)).toEqual([10, 10, 10]);
    expect(sorted(members.flatMap(({ reader }) => reader.received))).toEqual(numbers(30));
  });

  it('is done when every worker knows the member, and then all of them serve it', () => {
    const { routers, hub } = start(3);
    hub.isImmediate = false;
    const member = join(2, 'g', 'jobs');
    hub.deliverTo(0);
    expect(member.isKnown()).toBe(false);
    hub.deliverTo(1);
    expect(member.isKnown()).toBe(true);
    for (const worker of [0, 1, 2]) publish(routers[worker], 'jobs', `${worker}`);
    group.catchUp();
    expect(sorted(member.reader.received)).toEqual(['0', '1', '2']);
  });

  it('alone on the node is done at once', () => {
    const { routers } = start(1);
    const member = join(0, 'g', 'jobs');
    expect(member.isKnown()).toBe(true);
    publish(routers[0], 'jobs', '1', '2');
    expect(member.reader.received).toEqual(['1', '2']);
  });

  it('reaches routes that were computed before', () => {
    const { routers } = start(2);
    publish(routers[0], 'jobs', 'nobody');
    const exact = join(1, 'g', 'jobs');
    publish(routers[0], 'jobs', '1');
    const wild = join(0, 'w', '#');
    publish(routers[0], 'jobs', '2');
    group.catchUp();
    expect(exact.reader.received).toEqual(['1', '2']);
    expect(wild.reader.received).toEqual(['2']);
  });

  it('keeps groups apart, and apart from subscriptions of one subscriber each', () => {
    const { routers } = start(2);
    const plain = new Reader();
    plain.on(routers[1], 'jobs');
    const members = [join(0, 'one', 'jobs'), join(1, 'one', 'jobs'), join(1, 'two', 'jobs'), join(0, 'one', '+')];
    publish(routers[0], 'jobs', ...numbers(10));
    group.catchUp();
    expect(plain.received).toEqual(numbers(10));
    expect(sorted([...members[0].reader.received, ...members[1].reader.received])).toEqual(numbers(10));
    expect(members[2].reader.received).toEqual(numbers(10));
    expect(members[3].reader.received).toEqual(numbers(10));
    expect(routers[0].groups.groupCount).toBe(3);
  });

  it('prefers members that are online', () => {
    const { routers } = start(2);
    const [here, there] = [join(0, 'g', 'jobs'), join(1, 'g', 'jobs')];
    there.reader.isOnline = false;
    routers[1].groups.statusChanged(there.id, () => undefined);
    publish(routers[0], 'jobs', ...numbers(4));
    expect(here.reader.received).toEqual(numbers(4));
    here.reader.isOnline = false;
    routers[0].groups.statusChanged(here.id, () => undefined);
    publish(routers[0], 'jobs', ...numbers(4, 4));
    group.catchUp();
    expect(here.reader.received.length).toBe(6);
    expect(there.reader.received.length).toBe(2);
    there.reader.isOnline = true;
    routers[1].groups.statusChanged(there.id, () => undefined);
    publish(routers[0], 'jobs', ...numbers(4, 8));
    group.catchUp();
    expect(there.reader.received.length).toBe(6);
  });
});

describe('leave()', () => {
  it('ends the group with its last member', () => {
    const { routers } = start(2);
    const members = [join(0, 'g', 'jobs'), join(1, 'g', 'jobs')];
    for (const [worker, { id }] of members.entries()) routers[worker].groups.leave(id);
    routers[0].groups.leave(members[0].id);
    publish(routers[0], 'jobs', 'nobody');
    group.catchUp();
    expect(routers.map(({ groups }) => groups.groupCount)).toEqual([0, 0]);
    expect(members.flatMap(({ reader }) => reader.received)).toEqual([]);
  });

  it('passes what was on its way on to the next member of the same group, and of no other', () => {
    const { routers } = start(3);
    const leaving = join(1, 'g', 'jobs');
    const other = join(1, 'other', 'jobs');
    publish(routers[0], 'jobs', ...numbers(5));
    const next = join(2, 'g', 'jobs');
    routers[1].groups.leave(leaving.id);
    publish(routers[0], 'jobs', ...numbers(5, 5));
    for (let round = 0; round < 3; round++) group.catchUp();
    expect(sorted([...leaving.reader.received, ...next.reader.received])).toEqual(numbers(10));
    expect(other.reader.received).toEqual(numbers(10));
  });

  it('loses and doubles nothing while members come and go and broadcasts are on their way', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          does: fc.constant('publish' as const),
          worker: fc.nat(2),
          count: fc.integer({ min: 1, max: 6 }),
        }),
      },
      { weight: 2, arbitrary: fc.record({ does: fc.constant('join' as const), worker: fc.nat(2), count: fc.nat(1) }) },
      { weight: 2, arbitrary: fc.record({ does: fc.constant('leave' as const), worker: fc.nat(2), count: fc.nat(5) }) },
      {
        weight: 3,
        arbitrary: fc.record({
          does: fc.constant('tell' as const),
          worker: fc.nat(2),
          count: fc.integer({ min: 1, max: 3 }),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ does: fc.constant('read' as const), worker: fc.nat(2), count: fc.constant(0) }),
      },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 80 }), (steps) => {
        start(3);
        const { routers, hub } = group;
        // One member of each group stays, known to all, so that there is always somebody.
        const all = [0, 1].map((name) => [join(name, `g${name}`, 'jobs')]);
        hub.isImmediate = false;
        const present = [0, 1, 2].map(() => [] as { id: number }[]);
        let published = 0;
        for (const { does, worker, count } of steps) {
          if (does === 'publish') {
            publish(routers[worker], 'jobs', ...numbers(count, published));
            published += count;
          } else if (does === 'join') {
            const member = join(worker, `g${count}`, 'jobs');
            all[count].push(member);
            present[worker].push(member);
          } else if (does === 'leave') {
            const [member] = present[worker].splice(count % Math.max(1, present[worker].length), 1);
            if (member !== undefined) routers[worker].groups.leave(member.id);
          } else if (does === 'tell') {
            for (let times = 0; times < count; times++) hub.deliverTo(worker);
          } else {
            routers[worker].catchUp();
          }
        }
        hub.deliverAll();
        for (let round = 0; round < 4; round++) group.catchUp();
        for (const members of all) {
          expect(sorted(members.flatMap(({ reader }) => reader.received))).toEqual(numbers(published));
        }
        group.stop();
      }),
      { numRuns: 200 },
    );
  });

  it('does not let a member that left and its worker remember it for ever', () => {
    const { routers } = start(2);
    for (let count = 0; count < 100; count++) routers[0].groups.leave(join(0, 'g', 'jobs').id);
    const { former } = routers[0].groups as unknown as { former: Map<number, string> };
    expect(former.size).toBe(0);
  });
});

describe('a full ring', () => {
  it('holds the publisher back and loses nothing, whatever the members and the length of a run', async () => {
    const { routers } = start(2, { ringBytes: 2_048 });
    const plain = new Reader();
    plain.on(routers[1], 'jobs');
    const names = ['a', 'b', 'c'];
    const groups = names.map((name) => [join(0, name, 'jobs'), join(1, name, 'jobs'), join(1, name, '+')]);
    await turn();
    let published = 0;
    let refused = 0;
    for (let count = 1; published < 2_000; count = (count % 12) + 1) {
      while (!publish(routers[0], 'jobs', ...numbers(count, published))) {
        refused++;
        await new Promise<void>((resolve) => routers[0].whenRoom(resolve));
      }
      published += count;
    }
    await until(() => plain.received.length === published);
    await until(() =>
      groups.every((members) => members.slice(0, 2).flatMap(({ reader }) => reader.received).length === published),
    );
    await until(() => groups.every(([, , wild]) => wild.reader.received.length === published));
    expect(refused).toBeGreaterThan(10);
    for (const [here, there, wild] of groups) {
      expect(sorted([...here.reader.received, ...there.reader.received])).toEqual(numbers(published));
      // One member's share keeps its order.
      expect(there.reader.received).toEqual(sorted(there.reader.received));
      expect(wild.reader.received).toEqual(numbers(published));
    }
    expect(group.warnings).toEqual([]);
  });

  it('takes a run of many small publications that as single records would be longer than any record', async () => {
    const { routers } = start(2, { ringBytes: 16_384 });
    const member = join(1, 'g', 'jobs');
    await turn();
    expect(publish(routers[0], 'jobs', ...numbers(500))).toBe(true);
    await until(() => member.reader.received.length === 500);
    expect(member.reader.received).toEqual(numbers(500));
  });
});

describe('workers that come and go', () => {
  it('a dead worker is no member any more', async () => {
    const { routers } = start(3);
    const [here, there] = [join(0, 'g', 'jobs'), join(1, 'g', 'jobs')];
    group.kill(1);
    publish(routers[0], 'jobs', ...numbers(4));
    publish(routers[2], 'jobs', ...numbers(4, 4));
    group.catchUp();
    expect(sorted(here.reader.received)).toEqual(numbers(8));
    expect(there.reader.received).toEqual([]);
  });

  it('a worker that starts hears of all members, once', () => {
    const { routers } = start(3);
    const members = [join(0, 'g', 'jobs'), join(2, 'g', 'jobs')];
    group.kill(1);
    const next = group.replace(1);
    members.push(join(1, 'g', 'jobs'));
    publish(next, 'jobs', ...numbers(30));
    publish(routers[0], 'jobs', ...numbers(30, 30));
    for (let round = 0; round < 2; round++) group.catchUp();
    expect(members.map(({ reader }) => reader.received.length)).toEqual([20, 20, 20]);
  });
});

describe('replace()', () => {
  it('lets the new target take the turns of the former one, on every worker', () => {
    const { routers } = start(2);
    const member = join(0, 'g', 'jobs');
    join(1, 'g', 'jobs');
    publish(routers[1], 'jobs', '1', '2');
    group.catchUp();
    const reader = new Reader();
    let isKnown = false;
    routers[0].groups.replace(member.id, reader, () => {
      isKnown = true;
    });
    expect(isKnown).toBe(true);
    publish(routers[1], 'jobs', '3', '4', '5', '6');
    publish(routers[0], 'jobs', '7', '8');
    group.catchUp();
    expect(member.reader.received.length).toBe(1);
    expect(reader.received.length).toBe(3);
  });

  it('is done when every worker knows a member whose join is still on its way', () => {
    const { routers, hub } = start(2);
    hub.isImmediate = false;
    const member = join(0, 'g', 'jobs');
    let isKnown = false;
    routers[0].groups.replace(member.id, new Reader(), () => {
      isKnown = true;
    });
    expect(isKnown).toBe(false);
    hub.deliverTo(1);
    hub.deliverTo(1);
    expect([member.isKnown(), isKnown]).toEqual([true, true]);
  });
});

describe('redeliver()', () => {
  it('gives to another member, on whichever worker, and says when there is none', () => {
    const { routers } = start(2);
    const { groups } = routers[0];
    const [leaver, other] = [join(0, 'g', 'jobs'), join(1, 'g', 'jobs')];
    leaver.reader.isOnline = false;
    expect(groups.hasTaker('g', 'jobs', leaver.id, false)).toBe(true);
    const run = Object.assign(runOf(['1']), { topic: 'jobs', topicBytes: Buffer.from('jobs') });
    expect(groups.redeliver('g', 'jobs', run, leaver.id, false)).toBe(true);
    group.catchUp();
    expect([leaver.reader.received, other.reader.received]).toEqual([[], ['1']]);
    other.reader.isOnline = false;
    routers[1].groups.statusChanged(other.id, () => undefined);
    expect(groups.hasTaker('g', 'jobs', leaver.id, false)).toBe(false);
    expect(groups.redeliver('g', 'jobs', run, leaver.id, false)).toBe(false);
    groups.leave(leaver.id);
    expect(groups.redeliver('g', 'jobs', run, 0, true)).toBe(true);
    group.catchUp();
    expect(other.reader.received).toEqual(['1', '1']);
    expect(groups.redeliver('nobody', 'jobs', run, 0, true)).toBe(false);
  });
});

describe('strategies', () => {
  it('hash-topic hands whole runs over and agrees on all workers', () => {
    const { routers } = start(2);
    const members = [0, 1, 1, 0].map((worker, at) => {
      const reader = new Reader();
      const options = { strategy: 'hash-topic', seed: at * 7_919 } as const;
      routers[worker].groups.join('g', 't/+', reader, () => undefined, options);
      return reader;
    });
    for (let at = 0; at < 40; at++) for (const router of routers) publish(router, `t/${at}`, `${at}`, `${at}`);
    group.catchUp();
    for (const { received } of members) {
      expect(received.length).toBeGreaterThan(0);
      for (const text of new Set(received)) expect(received.filter((one) => one === text).length).toBe(4);
    }
    expect(members.flatMap(({ received }) => received).length).toBe(160);
  });

  it('local-first sends nothing to other workers while a member here is online', () => {
    const { routers } = start(2);
    const [here, there] = [0, 1].map((worker) => {
      const reader = new Reader();
      routers[worker].groups.join('g', 'jobs', reader, () => undefined, { strategy: 'local-first' });
      return reader;
    });
    publish(routers[0], 'jobs', '1', '2');
    here.isOnline = false;
    publish(routers[0], 'jobs', '3');
    group.catchUp();
    expect([here.received, there.received]).toEqual([['1', '2'], ['3']]);
  });

  it('least-inflight hears from other workers how busy their members are', async () => {
    const { routers } = start(2);
    const readers = [0, 1].map((worker) => {
      const reader = new Reader();
      routers[worker].groups.join('g', 'jobs', reader, () => undefined, { strategy: 'least-inflight' });
      return reader;
    });
    readers[0].load = 3;
    readers[1].load = 100;
    let sent = 0;
    await until(() => {
      publish(routers[0], 'jobs', `${sent++}`);
      group.catchUp();
      return readers[0].received.length > 10;
    });
    expect(readers[1].received.length).toBeGreaterThan(0);
  });
});
