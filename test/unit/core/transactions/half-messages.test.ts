// Half messages by example and under chance, over the journal on simulated disks.
import { afterEach, describe, expect, it } from 'vitest';
import { halfEvents, halfStates, halfTransitions } from '../../../../src/core/transactions/half-state.ts';
import { Random } from '../../../fuzz/random.ts';
import { type AppendFate, FaultyStore } from '../../../support/faulty-store.ts';
import { recordsOf, turn } from '../../../support/stream-records.ts';
import { HalfWorld } from './half-world.ts';

const rounds = Number(process.env['HALF_MODEL_ROUNDS'] ?? 6);
const timeoutMs = 30_000 + 1000 * rounds;

let world: HalfWorld;

async function begin(...given: ConstructorParameters<typeof HalfWorld>): Promise<HalfWorld> {
  world = new HalfWorld(...given);
  await world.store.create('t');
  await world.store.create('dead');
  await world.open();
  return world;
}

afterEach(() => world.close());

describe('HalfMessages', () => {
  it('commit() lets a message be seen, rollback() never', async () => {
    const { halves } = await begin();
    const [a, b] = [await world.prepare('t', 'a'), await world.prepare('t', 'b')];
    await world.settle();
    expect(await world.values('t')).toEqual([]);
    await Promise.all([halves.commit(a), halves.rollback(b), world.settle()]);
    expect(await world.values('t')).toEqual(['a']);
    await expect(halves.commit(b)).rejects.toMatchObject({ code: 'TRANSACTION_UNKNOWN' });
    expect(halves.pending).toBe(0);
    await world.crash('drop');
    await world.pass(10_000);
    expect(await world.values('t')).toEqual(['a']);
    expect(world.checks).toEqual([]);
  });

  it('tick() asks the group so often, and rolls back in the end', async () => {
    await begin();
    const number = await world.prepare('t', 'a');
    await world.pass(900);
    expect(world.checks.length).toBe(0);
    await world.pass(300);
    expect(world.checks).toMatchObject([{ number, group: 'group', target: 't', count: 1 }]);
    expect(world.checks[0].record.value?.toString()).toBe('a');
    // The count outlives a crash.
    await world.crash('drop');
    await world.pass(20_000);
    expect(world.checks.map(({ count }) => count)).toEqual([1, 2, 3]);
    expect(world.halves.pending).toBe(0);
    expect(world.halves.counts.rolledBack).toBe(1);
    expect(await world.values('t')).toEqual([]);
  });

  it('tick() sends to the dead letters what nobody decides', async () => {
    await begin(1, { deadLetterTarget: 'dead', checksMax: 1, bodyBytesMax: 0 });
    await world.prepare('t', 'a');
    await world.pass(10_000);
    const dead = await recordsOf(await world.store.open('dead'));
    expect(dead.map(({ value, headers }) => [value, headers])).toEqual([
      ['a', ['ringmq-dead-reason=undecided', 'ringmq-dead-stream=t']],
    ]);
    expect(world.checks.length).toBe(1);
    await world.crash();
    await world.pass(10_000);
    expect((await world.values('dead')).length).toBe(1);
  });

  it('tick() gives nothing up of which nobody was asked when a crash hides every count', async () => {
    world = new HalfWorld();
    let isHidden = false;
    world.wrap = (store) =>
      new FaultyStore(store, { fateOf: (name) => (isHidden && name === '__half.log' ? 'hide' : 'store') });
    await world.store.create('t');
    await world.open();
    const number = await world.prepare('t', 'a');
    for (let crash = 0; crash < 3; crash += 1) {
      isHidden = true;
      await world.pass(2500);
      isHidden = false;
      expect(world.checks).toEqual([]);
      await world.crash('drop');
    }
    // All three checks are counted.
    await world.pass(10_000);
    expect(world.checks).toMatchObject([{ number, count: 3 }]);
    expect(world.halves.counts.rolledBack).toBe(1);
    expect(world.halves.pending).toBe(0);
  });

  it('commit() after a check ends it, and the log is trimmed', async () => {
    await begin();
    world.onCheck = ({ number }) => void world.halves.commit(number);
    for (let at = 0; at < 5; at += 1) await world.prepare('t', `${at}`);
    await world.pass(5000);
    expect([...(await world.values('t'))].sort()).toEqual(['0', '1', '2', '3', '4']);
    const { logStartOffset, logEndOffset } = await (await world.store.open('__half.log')).places();
    expect(logStartOffset).toBe(logEndOffset);
  });

  it('the table answers each event in each state', () => {
    for (const state of halfStates) expect(Object.keys(halfTransitions[state])).toEqual([...halfEvents]);
  });

  it(
    'each message is seen once or never, as was told, when everything crashes at any point',
    async () => {
      for (let round = 0; round < rounds; round += 1) {
        if (round > 0) await world.close();
        const seed = Number(process.env['HALF_MODEL_SEED'] ?? 1) + round;
        // By the seed and not by the round: a seed is the same run wherever it comes.
        await runModel(seed, seed % 2 === 0);
      }
    },
    timeoutMs,
  );
});

interface Known {
  readonly value: string;
  readonly target: string;
  readonly wish: 'commit' | 'rollback' | 'none';
  told: 'nothing' | 'committed' | 'rolledBack';
  isDecided: boolean;
  checks: number;
  isPrepared: boolean;
  number: number;
}

async function runModel(seed: number, hasFaults: boolean): Promise<void> {
  const random = new Random(seed);
  let faultRate = 0;
  const isFaulty = (): boolean => faultRate > 0 && random.oneIn(faultRate);
  world = new HalfWorld(seed, { bodyBytesMax: random.oneIn(2) ? 0 : 1 << 20 });
  const fateOf = (): AppendFate => (isFaulty() ? random.pick(['refuse', 'hide', 'lose']) : 'store');
  world.wrap = (store) =>
    new FaultyStore(store, { fateOf, failureOf: () => (isFaulty() ? 'STORAGE_UNAVAILABLE' : null) });
  await world.store.create('t');
  await world.store.create('u');
  await world.open();
  const all: Known[] = [];
  const decide = (known: Known): void => {
    if (known.number < 0 || known.wish === 'none') return;
    known.isDecided = true;
    const told = known.wish === 'commit' ? 'committed' : 'rolledBack';
    world.halves[known.wish](known.number).then(
      () => {
        known.told = told;
      },
      // It is asked about again.
      () => undefined,
    );
  };
  world.onCheck = ({ record, number }) => {
    const known = all.find(({ value }) => value === record.value?.toString());
    if (known === undefined) throw new Error('something was checked that nobody prepared');
    known.number = number;
    known.checks += 1;
    if (random.oneIn(2)) decide(known);
  };
  for (let step = 0; step < 150; step += 1) {
    if (hasFaults && step % 20 === 0) faultRate = random.oneIn(3) ? 6 : 0;
    const kind = random.below(20);
    if (kind < 8) {
      const target = random.pick(['t', 'u']);
      const known: Known = {
        value: `m${all.length}`,
        target,
        wish: random.pick(['commit', 'commit', 'rollback', 'none']),
        told: 'nothing',
        isDecided: false,
        checks: 0,
        isPrepared: false,
        number: -1,
      };
      all.push(known);
      world.prepare(target, known.value).then(
        (number) => {
          known.number = number;
          known.isPrepared = true;
          if (random.oneIn(2)) decide(known);
        },
        () => undefined,
      );
    } else if (kind < 9) await world.crash(random.pick(['mixed', 'drop', 'keep', 'kill']));
    else {
      world.nowMs += random.pick([1, 50, 300, 1000]);
      world.halves.tick();
    }
    for (let left = random.below(6); left > 0; left -= 1) await turn();
  }
  faultRate = 0;
  await world.pass(20_000, 200);
  const seen = new Map<string, string[]>();
  for (const target of ['t', 'u']) {
    for (const value of await world.values(target)) seen.set(value ?? '', [...(seen.get(value ?? '') ?? []), target]);
  }
  for (const { value, target, wish, told, isPrepared, isDecided, checks } of all) {
    const places = seen.get(value) ?? [];
    const state = `seed ${seed}: ${value} (${wish}, ${told}) is in ${places.length} places`;
    if (places.length > 1 || (places.length === 1 && places[0] !== target)) throw new Error(state);
    if (told === 'committed' && places.length !== 1) throw new Error(state);
    if (wish !== 'commit' && places.length > 0) throw new Error(state);
    if (told === 'rolledBack' && places.length > 0) throw new Error(state);
    if (isPrepared && !isDecided && checks === 0) throw new Error(`${state}, and nobody was asked about it`);
  }
  if (world.halves.pending > 0) throw new Error(`seed ${seed}: ${world.halves.pending} are undecided after the end`);
}
