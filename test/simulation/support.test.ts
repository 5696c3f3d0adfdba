import { describe, expect, it } from 'vitest';
import { ClientChecker } from './checkers/clients.ts';
import { ElectionChecker } from './checkers/elections.ts';
import { LogChecker } from './checkers/logs.ts';
import { forbidChance } from './determinism.ts';
import { bytesOf, Model } from './model.ts';
import { SimulatedNetwork } from './network.ts';
import { Random } from './random.ts';
import { Scheduler, Trace } from './scheduler.ts';

function newScheduler(): Scheduler {
  return new Scheduler(new Trace({ kept: 3, print: null }));
}

describe('Scheduler', () => {
  it('step() runs events by time, and in order of scheduling at equal time', () => {
    const scheduler = newScheduler();
    const seen: string[] = [];
    const random = new Random(3);
    const delays = Array.from({ length: 200 }, () => random.below(20));
    for (const [i, delay] of delays.entries()) scheduler.after(delay, () => void seen.push(`${delay} ${i}`));
    while (scheduler.step());
    const expected = delays
      .map((delay, i) => [delay, i] as const)
      .sort((left, right) => left[0] - right[0] || left[1] - right[1]);
    expect(seen).toEqual(expected.map(([delay, i]) => `${delay} ${i}`));
    expect(scheduler.steps).toBe(200);
  });

  it('Trace keeps the last lines and a digest of all', () => {
    const [one, other] = [new Trace({ kept: 2, print: null }), new Trace({ kept: 2, print: null })];
    for (let i = 0; i < 5; i++) {
      one.add(i * 1000, 'event', i);
      other.add(i * 1000, 'event', i === 0 ? 9 : i);
    }
    expect(one.last().map((line) => line.trim())).toEqual(['3.000 ms  event 3', '4.000 ms  event 4']);
    expect(other.last()).toEqual(one.last());
    expect(other.digest()).not.toBe(one.digest());
  });
});

describe('Random', () => {
  it('fork() gives each part numbers of its own that the seed decides', () => {
    const numbers = (seed: number, label: string) => {
      const random = new Random(seed).fork(label);
      return Array.from({ length: 8 }, () => random.below(1000));
    };
    expect(numbers(1, 'a')).toEqual(numbers(1, 'a'));
    expect(numbers(1, 'a')).not.toEqual(numbers(1, 'b'));
    expect(numbers(1, 'a')).not.toEqual(numbers(2, 'a'));
  });
});

describe('SimulatedNetwork', () => {
  function deliver(
    options: Partial<SimulatedNetwork['options']>,
    prepare: (network: SimulatedNetwork) => void = () => {},
  ): number[] {
    const scheduler = newScheduler();
    const network = new SimulatedNetwork(scheduler, new Random(5, 'network'));
    Object.assign(network.options, options);
    prepare(network);
    const seen: number[] = [];
    for (let i = 0; i < 300; i++) network.send(1, 2, () => seen.push(i));
    while (scheduler.step());
    return seen;
  }

  const all = Array.from({ length: 300 }, (_, i) => i);

  it('send() keeps the order between two hosts', () => expect(deliver({})).toEqual(all));

  it('send() loses, repeats and reorders as its options say', () => {
    expect(deliver({ lossShare: 0.5 }).length).toBeLessThan(200);
    expect(deliver({ duplicateShare: 0.5 }).length).toBeGreaterThan(400);
    const reordered = deliver({ reorderShare: 0.5 });
    expect(reordered).not.toEqual(all);
    expect([...reordered].sort((left, right) => left - right)).toEqual(all);
    expect(deliver({ clogShare: 0.1, clogUsMean: 50_000 })).toEqual(all);
  });

  it('cut() cuts one way until heal()', () => {
    expect(deliver({}, (network) => network.cut(1, 2))).toEqual([]);
    expect(deliver({}, (network) => network.cut(2, 1))).toEqual(all);
    expect(
      deliver({}, (network) => {
        network.cut(1, 2);
        network.heal();
      }),
    ).toEqual(all);
  });
});

describe('forbidChance()', () => {
  it('forbidChance() has clocks and random numbers throw until it is undone', () => {
    const restore = forbidChance();
    try {
      expect(() => Date.now()).toThrow('Cannot call Date.now');
      expect(() => Math.random()).toThrow('Cannot call Math.random');
    } finally {
      restore();
    }
    expect(Date.now()).toBeGreaterThan(0);
  });
});

describe('ElectionChecker', () => {
  const vote = (from: number, to: number, term: number) =>
    ({ type: 'vote-response', from, to, term, preVote: false, isGranted: true }) as const;

  it('onSend() refuses two leaders in a term', () => {
    const checker = new ElectionChecker(() => {});
    checker.onLeader(1, 5);
    checker.onLeader(2, 6);
    expect(() => checker.onLeader(2, 5)).toThrow('Term 5 has two leaders');
  });

  it('onSend() refuses two votes in a term, and onStart() a forgotten one', () => {
    const checker = new ElectionChecker(() => {});
    checker.onSend(vote(1, 2, 5));
    checker.onSend(vote(1, 2, 5));
    expect(() => checker.onSend(vote(1, 3, 5))).toThrow('1 voted for 2 and for 3');
    expect(() => checker.onStart(1, { term: 4, vote: 0, commit: 0 })).toThrow('came back with term 4');
    expect(() => checker.onStart(1, { term: 5, vote: 0, commit: 0 })).toThrow('came back with a vote for 0');
    checker.onStart(1, { term: 5, vote: 2, commit: 0 });
    checker.onStart(1, { term: 6, vote: 0, commit: 0 });
  });
});

describe('LogChecker', () => {
  const entry = (index: number, term: number, text = '') => ({ index, term, kind: 0 as const, data: bytesOf(text) });
  const write = (...entries: ReturnType<typeof entry>[]) => ({
    hardState: { term: 1, vote: 0, commit: 0 },
    entries,
    mustSync: true,
  });

  it('onAppend() refuses logs that differ at the same index and term, or in what is before it', () => {
    const checker = new LogChecker();
    checker.onAppend(1, write(entry(1, 1, 'a'), entry(2, 2, 'b')));
    checker.onAppend(2, write(entry(1, 1, 'a')));
    expect(() => checker.onAppend(2, write(entry(2, 2, 'x')))).toThrow('Entry 2 of term 2 differs');
    checker.onAppend(3, write(entry(1, 2, 'c')));
    expect(() => checker.onAppend(3, write(entry(2, 2, 'b')))).toThrow('Entry 2 of term 2 differs');
    expect(() => checker.onAppend(4, write(entry(2, 2, 'b')))).toThrow('wrote entry 2 to a log of 1 to 0');
  });

  it('onLeader() refuses a leader without what is committed', () => {
    const checker = new LogChecker();
    checker.onAppend(1, write(entry(1, 1, 'a'), entry(2, 1, 'b')));
    checker.onAppend(2, write(entry(1, 1, 'a')));
    checker.committed.push({ term: 1, digest: 0, knownInTerm: 1 }, { term: 1, digest: 0, knownInTerm: 1 });
    checker.onLeader(1, 2);
    expect(() => checker.onLeader(2, 3)).toThrow('2 leads term 3 with term undefined at entry 2');
  });
});

describe('ClientChecker', () => {
  const set = (key: string, value: string) =>
    ({
      type: 'transaction',
      compares: [],
      success: [{ type: 'set', key: bytesOf(key), value: bytesOf(value), lease: 0, returnPrevious: false }],
      failure: [],
    }) as const;
  const result = (revision: number) =>
    ({
      type: 'transaction',
      revision,
      succeeded: true,
      results: [{ type: 'set', previous: null }],
      wasRepeated: false,
    }) as const;

  it('onWrite() and onRead() refuse lost writes and stale reads', () => {
    const model = new Model();
    const checker = new ClientChecker(model);
    const call = (id: string) =>
      ({
        type: 'write',
        name: 'put',
        command: set('k', id),
        requestId: bytesOf(id),
        mayBeRefused: [],
        actions: () => [],
      }) as const;
    const begun = checker.begin();
    expect(() => checker.onWrite(begun, call('lost'), result(1))).toThrow('nobody has applied it');
    model.apply({ command: set('k', 'kept'), requestId: bytesOf('kept'), identity: 'kept' }, result(1), 1);
    const query = {
      type: 'range',
      key: bytesOf('k'),
      end: null,
      limit: 0,
      isReverse: false,
      keysOnly: false,
      countOnly: false,
    } as const;
    const read = {
      type: 'read',
      name: 'get',
      query: { ...query, consistency: 'linearizable' },
      registers: ['k'],
    } as const;
    const empty = { type: 'range', items: [], count: 0, hasMore: false, revision: 0 } as const;
    checker.onRead(checker.begin(), read, empty);
    checker.onWrite(begun, call('kept'), result(1));
    expect(() => checker.onRead(checker.begin(), read, empty)).toThrow(
      'answered as of revision 0; 1 had been acknowledged',
    );
    expect(() => checker.onRead(checker.begin(), read, { ...empty, revision: 1 })).toThrow('saw at revision 1');
  });
});
