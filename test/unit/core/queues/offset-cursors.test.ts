import { expect, test } from 'vitest';
import { groupEvents, groupStates, groupTransitions } from '../../../../src/core/queues/group-state.ts';
import { OffsetCursors } from '../../../../src/core/queues/offset-cursors.ts';
import { serviceProducerBase } from '../../../../src/core/queues/state-log.ts';
import { World } from './fixture.ts';
import { drive } from './set-fixture.ts';

async function openCursors(world: World, isCompacted = true): Promise<OffsetCursors> {
  if (!world.disks.has('offsets')) await world.store.create('offsets', { isCompacted: true });
  const stream = await world.store.open('offsets');
  for (;;) {
    try {
      return await drive(
        world,
        OffsetCursors.open({ stream, isCompacted, producerBase: serviceProducerBase, context: world.context }),
      );
    } catch (error) {
      if (!(error instanceof Error && 'canRetry' in error && error.canRetry === true)) throw error;
    }
  }
}

test('groupTransitions is total, and a stale generation never gets through', () => {
  for (const state of groupStates) {
    expect(Object.keys(groupTransitions[state]).sort()).toEqual([...groupEvents].sort());
    for (const event of ['claimOld', 'commitOld', 'releaseOld'] as const) {
      expect(groupTransitions[state][event]).toEqual({ refused: 'QUEUE_GENERATION_STALE' });
    }
  }
});

test('OffsetCursors answers a commit when it is stored, and shows it then', async () => {
  const world = new World();
  const cursors = await openCursors(world);
  world.turnsMax = 3;
  const committed = cursors.commit('g', null, [{ stream: 's', offset: 7, leaderEpoch: 3, metadata: 'Ünïcode' }]);
  expect(cursors.fetch('g', 's')).toBeNull();
  await drive(world, committed);
  const expected = { offset: 7, leaderEpoch: 3, metadata: 'Ünïcode', time: world.wall };
  expect(cursors.fetch('g', 's')).toEqual(expected);
  world.crash();
  const again = await openCursors(world);
  expect(again.fetch('g', 's')).toEqual(expected);
  expect(again.describe('g')).toMatchObject({ state: 'free', generation: 0 });
});

test('OffsetCursors fences members by generation, over restarts, too', async () => {
  const world = new World();
  let cursors = await openCursors(world);
  const commit = (generation: number | null): Promise<void> => {
    return drive(world, cursors.commit('g', generation, [{ stream: 's', offset: generation ?? 0 }]));
  };
  const stale = { code: 'QUEUE_GENERATION_STALE' };
  await expect(commit(1)).rejects.toMatchObject(stale);
  await drive(world, cursors.claim('g', 5));
  await commit(5);
  await expect(commit(4)).rejects.toMatchObject(stale);
  await expect(commit(null)).rejects.toMatchObject(stale);
  await expect(drive(world, cursors.claim('g', 5))).rejects.toMatchObject(stale);
  await expect(drive(world, cursors.deleteGroup('g'))).rejects.toMatchObject({ code: 'QUEUE_GROUP_IN_USE' });
  world.crash();
  cursors = await openCursors(world);
  await commit(5);
  await expect(commit(4)).rejects.toMatchObject(stale);
  await drive(world, cursors.claim('g', 6));
  await expect(commit(5)).rejects.toMatchObject(stale);
  await drive(world, cursors.release('g', 6));
  await commit(null);
  await drive(world, cursors.deleteGroup('g'));
  expect(cursors.groups()).toEqual([]);
  world.crash();
  cursors = await openCursors(world);
  expect(cursors.groups()).toEqual([]);
  expect(() => cursors.describe('g')).toThrow('there is none');
});

test('OffsetCursors expires what free groups committed long ago, and deletes cursors of streams', async () => {
  const world = new World();
  const cursors = await openCursors(world);
  await drive(world, cursors.commit('old', null, [{ stream: 's', offset: 1 }]));
  await drive(world, cursors.claim('busy', 1));
  await drive(world, cursors.commit('busy', 1, [{ stream: 's', offset: 1 }]));
  await world.pass(1000);
  await drive(world, cursors.commit('mixed', null, [{ stream: 's', offset: 2 }]));
  expect(await drive(world, cursors.expire(world.wall - 500))).toBe(1);
  expect(cursors.groups()).toEqual(['busy', 'mixed']);
  await drive(world, cursors.deleteStream('s'));
  expect([cursors.fetch('busy', 's'), cursors.groups()]).toEqual([null, ['busy']]);
});

test('OffsetCursors stage() and finish() set the cursors of a transaction at once, or not at all', async () => {
  const world = new World();
  let cursors = await openCursors(world);
  await drive(world, cursors.stage(1, 'g', null, [{ stream: 'a', offset: 10 }]));
  await drive(world, cursors.stage(2, 'g', null, [{ stream: 'b', offset: 20 }]));
  expect([cursors.fetch('g', 'a'), cursors.isStaged('g', 'a')]).toEqual([null, true]);
  world.crash();
  cursors = await openCursors(world);
  await drive(world, cursors.finish(1, 'commit'));
  await drive(world, cursors.finish(1, 'commit'));
  await drive(world, cursors.finish(2, 'abort'));
  world.crash();
  cursors = await openCursors(world);
  expect([cursors.fetch('g', 'a')?.offset, cursors.fetch('g', 'b')]).toEqual([10, null]);
  expect([cursors.isStaged('g', 'a'), cursors.isStaged('g', 'b')]).toEqual([false, false]);
});

test('OffsetCursors keeps its stream short where the storage does not compact', async () => {
  const world = new World();
  let cursors = await openCursors(world, false);
  const metadata = 'x'.repeat(4000);
  await drive(world, cursors.claim('g', 7));
  await drive(world, cursors.stage(3, 'g', 7, [{ stream: 'staged', offset: 1 }]));
  for (let offset = 0; offset < 1500; offset += 10) {
    const commits = Array.from({ length: 10 }, (_, index) => ({
      stream: `s${index}`,
      offset: offset + index,
      metadata,
    }));
    await drive(world, cursors.commit('g', 7, commits));
  }
  const kept = world.disk('offsets').batches.reduce((sum, { bytes }) => sum + bytes.length, 0);
  expect(kept).toBeLessThan(2_500_000);
  expect(world.disk('offsets').start).toBeGreaterThan(0);
  world.crash();
  cursors = await openCursors(world, false);
  expect(cursors.describe('g')).toMatchObject({ state: 'claimed', generation: 7 });
  expect(cursors.fetch('g', 's3')?.offset).toBe(1493);
  expect(cursors.isStaged('g', 'staged')).toBe(true);
});

test('OffsetCursors refuses what is too long, too many or no offset', async () => {
  const world = new World();
  const cursors = await openCursors(world);
  const limit = { code: 'QUEUE_LIMIT' };
  const metadata = 'x'.repeat(4097);
  await expect(cursors.commit('g', null, [{ stream: 's', offset: 1, metadata }])).rejects.toMatchObject(limit);
  await expect(cursors.commit('g'.repeat(1025), null, [])).rejects.toMatchObject(limit);
  await expect(cursors.commit('g', null, [{ stream: 's', offset: -1 }])).rejects.toThrow('it is none');
});

test('OffsetCursors keeps what it confirmed in random runs with crashes', async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const world = new World(seed);
    const { chance } = world;
    let cursors = await openCursors(world);
    /** What may be read after a crash: the confirmed value, or one that was asked for after it. */
    const possible = new Map<string, { readonly offset: number | null }[]>();
    const confirmed: (() => void)[] = [];
    const ask = (place: string, value: number | null, done: Promise<unknown>): void => {
      const values = possible.get(place) ?? [{ offset: null }];
      possible.set(place, values);
      const asked = { offset: value };
      values.push(asked);
      const confirm = (): void => {
        values.splice(0, Math.max(0, values.indexOf(asked)));
      };
      done.then(
        () => confirmed.push(confirm),
        () => undefined,
      );
    };
    for (let step = 0; step < 120; step += 1) {
      const group = `g${chance.below(3)}`;
      const stream = `s${chance.below(3)}`;
      const kind = chance.below(20);
      if (kind < 11) ask(`${group} ${stream}`, step, cursors.commit(group, null, [{ stream, offset: step }]));
      else if (kind < 13 && cursors.fetch(group, stream) !== null) {
        ask(`${group} ${stream}`, null, cursors.deleteCursors(group, [stream]));
      } else if (kind < 14) world.refusals = chance.pick([0, 0.4]);
      else if (kind < 15) world.losses = chance.pick([0, 0.4]);
      else if (kind < 16) world.turnsMax = chance.below(4);
      else if (kind < 17) await world.pass(100);
      else if (kind < 18) {
        // Answers of the last turn are told before the process dies.
        for (let count = 0; count < 3; count += 1) await Promise.resolve();
        for (const confirm of confirmed.splice(0)) confirm();
        world.crash();
        cursors = await openCursors(world);
        for (const [place, values] of possible) {
          const [name, of] = place.split(' ');
          const offset = cursors.fetch(name, of)?.offset ?? null;
          expect(
            values.map((each) => each.offset),
            `seed ${seed}, ${place}`,
          ).toContain(offset);
          values.splice(0, values.length, { offset });
        }
      } else world.turn();
    }
  }
}, 30_000);
