import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createChooser,
  GroupMember,
  type GroupStrategy,
  groupStrategies,
  topicKeys,
} from '../../../../src/core/broker/group-strategies.ts';
import { Run } from '../../../../src/core/broker/run.ts';
import { hashString } from '../../../../src/std/hash.ts';
import { Reader } from '../../../support/routers.ts';

function members(count: number, here = count): { all: GroupMember[]; readers: Reader[] } {
  const readers = Array.from({ length: count }, () => new Reader());
  const all = readers.map((reader, at) =>
    at < here
      ? new GroupMember(0, at + 1, hashString(`m${at}`), reader, true)
      : new GroupMember(1, at + 1, hashString(`m${at}`), null, true),
  );
  return { all, readers };
}

function runOn(topic: string): Run {
  const run = new Run();
  run.topic = topic;
  return run;
}

/** Numbers in [0, 1), the same in each test run. */
function sequence(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
}

const topics = Array.from({ length: 1_000 }, (_, index) => `t/${index}`);

function choices(strategy: GroupStrategy, all: GroupMember[], names = topics): GroupMember[] {
  const chooser = createChooser(strategy, sequence());
  return names.map((topic) => chooser.choose(all, runOn(topic), topicKeys));
}

describe('createChooser()', () => {
  it.each(groupStrategies)('%s takes a member that is online as long as there is one', (strategy) => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), (online) => {
        const { all, readers } = members(online.length, Math.ceil(online.length / 2));
        for (const [at, isOnline] of online.entries()) {
          if (all[at].local === null) all[at].setOnline(isOnline);
          else readers[at].isOnline = isOnline;
        }
        const chosen = choices(strategy, all, topics.slice(0, 50));
        expect(chosen.every((member) => all.includes(member))).toBe(true);
        if (online.includes(true)) expect(chosen.every(({ isOnline }) => isOnline)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it.each(groupStrategies.filter((strategy) => strategy !== 'sticky'))('%s uses all members', (strategy) => {
    const { all } = members(4);
    const counts = new Map<GroupMember, number>();
    for (const member of choices(strategy, all)) counts.set(member, (counts.get(member) ?? 0) + 1);
    expect(counts.size).toBe(4);
    expect(Math.min(...counts.values())).toBeGreaterThan(100);
  });

  it('sticky keeps to one member until it leaves or goes offline', () => {
    const { all, readers } = members(3);
    const chooser = createChooser('sticky', sequence());
    const choose = (): GroupMember => chooser.choose(all, runOn('t'), topicKeys);
    const first = choose();
    expect(new Set(topics.map(choose))).toEqual(new Set([first]));
    readers[all.indexOf(first)].isOnline = false;
    const second = choose();
    expect(second).not.toBe(first);
    readers[all.indexOf(first)].isOnline = true;
    expect(choose()).toBe(second);
    all.splice(all.indexOf(second), 1);
    chooser.changed();
    expect(choose()).not.toBe(second);
  });

  it('local-first takes members elsewhere when none is online here', () => {
    const { all, readers } = members(4, 2);
    expect(new Set(choices('local-first', all))).toEqual(new Set(all.slice(0, 2)));
    for (const reader of readers) reader.isOnline = false;
    expect(new Set(choices('local-first', all))).toEqual(new Set(all.slice(2)));
  });

  it('hashes give equal topics to one member, and a change of members moves few of them', () => {
    const { all } = members(5);
    const before = choices('hash-topic', all);
    expect(choices('hash-topic', all.toReversed())).toEqual(before);
    const left = all.slice(1);
    const after = choices('hash-topic', left);
    for (const [at, member] of before.entries()) if (member !== all[0]) expect(after[at]).toBe(member);
  });

  it('hashes find a member again that comes back with another id on another worker', () => {
    const { all } = members(5);
    const before = choices('hash-topic', all);
    const back = new GroupMember(3, 77, all[2].seed, null, true);
    const after = choices('hash-topic', [...all.slice(0, 2), ...all.slice(3), back]);
    expect(after).toEqual(before.map((member) => (member === all[2] ? back : member)));
  });

  it('hashes serve groups of any size', () => {
    for (const count of [1, 2, 100, 5_000])
      expect(new Set(choices('hash-topic', members(count).all)).size).toBeGreaterThan(0);
  });

  it('least-inflight takes the member with the least to do, and counts what it sends to others', () => {
    const { all, readers } = members(3, 1);
    readers[0].load = 5;
    const chooser = createChooser('least-inflight', sequence());
    const chosen = Array.from({ length: 8 }, () => {
      const member = chooser.choose(all, runOn('t'), topicKeys);
      member.countSent();
      return member;
    });
    expect(chosen.every((member) => member !== all[0])).toBe(true);
    expect(all.slice(1).map(({ load }) => load)).toEqual([4, 4]);
    all[1].setLoad(0);
    expect(chooser.choose(all, runOn('t'), topicKeys)).toBe(all[1]);
  });
});
