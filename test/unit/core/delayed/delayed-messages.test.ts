// Delayed messages by example, over the journal on simulated disks.
import { afterEach, describe, expect, it } from 'vitest';
import { DelayedWorld, startMs } from './delayed-world.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

let world: DelayedWorld;

async function begin(...given: ConstructorParameters<typeof DelayedWorld>): Promise<DelayedWorld> {
  world = new DelayedWorld(...given);
  await world.store.create('target');
  await world.open();
  return world;
}

afterEach(() => world.close());

describe('DelayedMessages', () => {
  it('acceptAt() writes a message when it is due, not earlier', async () => {
    const { delayed } = await begin();
    expect((await world.accept(startMs + 500, 'target', 'a')).dueMs).toBe(startMs + 500);
    expect(delayed.pending).toBe(1);
    await world.pass(490);
    expect(await world.values('target')).toEqual([]);
    await world.pass(10);
    expect(await world.values('target')).toEqual(['a']);
    expect(delayed.pending).toBe(0);
  });

  it('acceptAt() keeps key, value, headers and timestamp byte for byte', async () => {
    const { delayed } = await begin();
    const records = [
      { timestampMs: 5, key: null, value: null },
      { timestampMs: startMs, key: Buffer.from('k'), value: Buffer.alloc(0), headers: [] },
      {
        timestampMs: 7,
        key: Buffer.alloc(200, 'k'),
        value: Buffer.alloc(3000, 'v'),
        headers: [
          { key: Buffer.from('h'), value: Buffer.from('1') },
          { key: Buffer.from('none'), value: null },
        ],
      },
    ];
    for (const record of records) {
      await new Promise((resolve) => delayed.acceptAt(startMs, { target: 'target', record }, resolve));
    }
    await world.pass(10);
    const seen = await world.seen('target');
    expect(seen.map(({ timestamp }) => timestamp)).toEqual([5, startMs, 7]);
    expect(seen.map(({ key }) => key)).toEqual([null, 'k', 'k'.repeat(200)]);
    expect(seen.map(({ value }) => value)).toEqual([null, '', 'v'.repeat(3000)]);
    expect(seen[2].headers).toEqual(['h=1', 'none=null']);
  });

  it('tick() writes in order of due time, and what is due at once in order of acceptance', async () => {
    await begin();
    const dues = [300, 100, 200, 100, 300, 100];
    await Promise.all(dues.map((due, at) => world.accept(startMs + due, 'target', `${due}-${at}`)));
    await world.pass(400);
    expect(await world.values('target')).toEqual(['100-1', '100-3', '100-5', '200-2', '300-0', '300-4']);
  });

  it('tick() brings messages from hours and days in time', async () => {
    await begin();
    const dues = [30 * hourMs, 3 * hourMs + 5, 90 * minuteMs, 2 * minuteMs + 7, 0, 26 * hourMs + 1];
    for (const due of dues) await world.accept(startMs + due, 'target', `${due}`);
    const levels = (await world.store.names()).filter((name) => name.startsWith('__delayed.2.'));
    expect(levels.length).toBeGreaterThan(0);
    await world.pass(25 * hourMs, minuteMs / 2);
    await world.crash();
    await world.pass(6 * hourMs, minuteMs / 2);
    const sorted = [...dues].sort((one, other) => one - other).map(String);
    expect(await world.values('target')).toEqual(sorted);
    expect((await world.store.names()).filter((name) => /^__delayed\.\d/.test(name))).toEqual([]);
  });

  it('cancel() keeps a message from being written, near or far, over a crash', async () => {
    await begin();
    const near = await world.accept(startMs + 1000, 'target', 'near');
    const far = await world.accept(startMs + 5 * hourMs, 'target', 'far');
    await world.accept(startMs + 5 * hourMs, 'target', 'kept');
    await world.settle();
    expect(await world.cancel(near)).toBe('cancelled');
    expect(await world.cancel(near)).toBe('unknown');
    expect(await world.cancel(far)).toBe('recorded');
    await world.crash('drop');
    await world.pass(5 * hourMs + 1000, 10_000);
    expect(await world.values('target')).toEqual(['kept']);
    expect(await world.cancel(near)).toBe('tooLate');
  });

  it('open() writes what became due while it was down, in order', async () => {
    await begin();
    for (const due of [7 * minuteMs, 100, 3 * hourMs, 2 * minuteMs]) {
      await world.accept(startMs + due, 'target', `${due}`);
    }
    world.nowMs += 4 * hourMs;
    await world.crash('drop');
    await world.settle();
    expect(await world.values('target')).toEqual(['100', `${2 * minuteMs}`, `${7 * minuteMs}`, `${3 * hourMs}`]);
  });

  it('tick() is not confused by a clock that goes back', async () => {
    await begin();
    await world.accept(startMs + 100, 'target', 'first');
    await world.pass(100);
    await world.accept(startMs + 5000, 'target', 'later');
    await world.pass(3 * minuteMs);
    expect(await world.values('target')).toEqual(['first', 'later']);
    world.nowMs = startMs;
    await world.accept(startMs + 200, 'target', 'again');
    await world.accept(startMs + 10 * minuteMs, 'target', 'last');
    await world.pass(190);
    expect(await world.values('target')).toEqual(['first', 'later']);
    // Also when it is opened anew while the clock is behind.
    await world.crash();
    await world.pass(20);
    expect(await world.values('target')).toEqual(['first', 'later', 'again']);
    await world.pass(10 * minuteMs, 1000);
    expect(await world.values('target')).toEqual(['first', 'later', 'again', 'last']);
  });

  it('acceptAt() refuses what is out of bounds', async () => {
    await begin(1, { delayMsMax: 1000, pendingMax: 2, recordBytesMax: 100 });
    await expect(world.accept(startMs + 1001, 'target', 'x')).rejects.toMatchObject({ code: 'DELAYED_TOO_FAR' });
    await expect(world.accept(Number.NaN, 'target', 'x')).rejects.toMatchObject({ code: 'DELAYED_INVALID' });
    await expect(world.accept(startMs, 'no/name', 'x')).rejects.toMatchObject({ code: 'DELAYED_INVALID' });
    await expect(world.accept(startMs, 'target', 'x'.repeat(101))).rejects.toMatchObject({ code: 'DELAYED_TOO_LARGE' });
    await world.accept(startMs + 500, 'target', 'a');
    await world.accept(startMs + 500, 'target', 'b');
    await expect(world.accept(startMs + 500, 'target', 'c')).rejects.toMatchObject({ code: 'DELAYED_FULL' });
    await world.pass(500);
    await world.accept(world.nowMs + 500, 'target', 'c');
  });

  it('tick() sends to the dead letters what its target refuses for good', async () => {
    await begin(1, { deadLetterTarget: 'dead' });
    await world.store.create('dead');
    await world.store.create('small', { batchBytesMax: 200 });
    await world.accept(startMs + 50, 'gone', 'a');
    await world.accept(startMs + 50, 'small', 'short');
    await world.accept(startMs + 50, 'small', 'long'.repeat(50));
    await world.accept(startMs + 50, 'small', 'brief');
    await world.accept(startMs + 50, 'target', 'b');
    await world.pass(100);
    expect(await world.values('target')).toEqual(['b']);
    expect(await world.values('small')).toEqual(['short', 'brief']);
    const dead = await world.seen('dead');
    expect(dead.map(({ value }) => value).sort()).toEqual(['a', 'long'.repeat(50)]);
    expect(dead.find(({ value }) => value === 'a')?.headers).toEqual([
      'ringmq-dead-reason=STORAGE_PARTITION_UNKNOWN',
      'ringmq-dead-stream=gone',
    ]);
    await world.crash();
    await world.pass(2 * minuteMs, 1000);
    expect((await world.seen('dead')).length).toBe(2);
    expect(world.delayed.pending).toBe(0);
  });

  it('tick() reads bodies again that had no room in memory', async () => {
    await begin(1, { bodyBytesMax: 0 });
    for (let at = 0; at < 300; at += 1) await world.accept(startMs + 100 + ((at * 7) % 300), 'target', `${at}`);
    await world.pass(500);
    expect(world.delayed.bodyBytes).toBe(0);
    const dues = (await world.values('target')).map((value) => (Number(value) * 7) % 300);
    expect(dues.length).toBe(300);
    expect(dues).toEqual([...dues].sort((one, other) => one - other));
  });

  it('a newer owner keeps the one before it from writing', async () => {
    await begin();
    const first = world.delayed;
    await world.accept(startMs + 100, 'target', 'a');
    await world.open();
    world.nowMs += 100;
    for (let turns = 0; turns < 5; turns += 1) {
      first.tick();
      await world.settle();
    }
    expect(await world.values('target')).toEqual(['a']);
  });
});
