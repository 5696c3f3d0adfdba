import { describe, expect, it } from 'vitest';
import { MessageLog } from '../../../../src/core/sessions/message-log.ts';
import type { MessageRun } from '../../../../src/core/sessions/message-record.ts';
import { SessionError } from '../../../../src/core/sessions/session-error.ts';
import { World } from '../queues/fixture.ts';
import { messageOf } from './session-world.ts';

const name = '__messages.0';

async function open(world: World, waitingBytesMax = 1_000_000) {
  await world.store.create(name, {});
  const stored: { readonly bytes: string; readonly starts: number }[] = [];
  const outcome = { rooms: 0, failures: [] as string[] };
  const log = new MessageLog({
    partition: await world.store.open(name),
    context: world.context,
    producerId: 7,
    producerEpoch: 1,
    waitingBytesMax,
    onStored: (bytes, starts) => stored.push({ bytes: bytes.toString('latin1'), starts: starts.length }),
    onRoom: () => {
      outcome.rooms += 1;
    },
    onFailed: (error) => outcome.failures.push(error.code),
  });
  const fenced = log.fence();
  await world.pass(100);
  await fenced;
  return { log, stored, outcome };
}

/** Bodies between bytes that are not theirs. */
function runOf(topic: string, bodies: readonly string[]): MessageRun {
  const places: number[] = [];
  let text = '';
  for (const body of bodies) {
    text += '<>';
    places.push(text.length, text.length + body.length);
    text += body;
  }
  const head = { topicBytes: Buffer.from(topic), header: Buffer.from('h'), grade: 1, expiresAtMs: 0, publisher: 'p' };
  return { ...head, grade: 1, source: Buffer.from(`${text}>`), count: bodies.length, places: Int32Array.from(places) };
}

describe('appendRun()', () => {
  it('stores what append() does, and keeps nothing of the run', async () => {
    const world = new World(3);
    const { log, stored } = await open(world);
    const told: string[] = [];
    const bodies = ['one', '', 'x'.repeat(70), 'y'.repeat(9000)];
    const run = runOf('a/b', bodies);
    log.appendRun(run, (error, offset, count) => told.push(`${error?.code ?? 'run'} ${offset} ${count}`));
    const head = { publisher: 'p', header: Buffer.alloc(0), expiresAtMs: 5_000_000_000_000 };
    const message = messageOf('c', 'alone', head);
    log.append(message, { slot: 3, packetId: 9, serial: 70 }, (error, offset) => told.push(`${error} ${offset}`));
    run.source.fill(0);
    message.body.fill(0);
    expect(log.underWay).toBe(5);
    await world.pass(100);
    expect(told).toEqual(['run 1 4', 'null 5']);
    expect([log.underWay, log.storedEnd, log.batches]).toEqual([0, 6, 1]);
    const records = world.records(name).slice(1);
    expect(records.map(({ key, value }) => [key, value])).toEqual([
      ...bodies.map((body) => ['a/b', body]),
      ['c', 'alone'],
    ]);
    expect(records[0].headers).toEqual([
      ['s', '\u0009\u0002p'],
      ['p', 'h'],
    ]);
    expect(records[4].headers.map(([key]) => key)).toEqual(['s']);
    expect(stored).toMatchObject([{ starts: 5 }]);
  });

  it('tells of parts in order when a batch is full, over refusals and answers that were lost', async () => {
    const world = new World(5);
    const { log, stored } = await open(world, 100_000_000);
    world.refusals = 0.3;
    world.losses = 0.3;
    world.turnsMax = 3;
    const bodies = Array.from({ length: 9000 }, (_, at) => `${at}`);
    const told: [number, number][] = [];
    log.appendRun(runOf('a', bodies.slice(0, 3)), () => undefined);
    log.appendRun(runOf('a', bodies.slice(3)), (_error, offset, count) => told.push([offset, count]));
    log.appendRun(runOf('b', [`${'z'.repeat(1_200_000)}`, 'end']), (_error, offset, count) =>
      told.push([offset, count]),
    );
    for (let pass = 0; pass < 100 && log.underWay > 0; pass += 1) await world.pass(1000);
    expect(told).toEqual([
      [4, 4093],
      [4097, 4096],
      [8193, 808],
      [9001, 1],
      [9002, 1],
    ]);
    expect(
      world
        .records(name)
        .slice(1)
        .map(({ value }) => value?.slice(0, 9)),
    ).toEqual([...bodies, 'z'.repeat(9), 'end']);
    expect(stored.map(({ starts }) => starts)).toEqual([4096, 4096, 808, 1, 1]);
  });

  it('refuses what is too large, and everything once it has failed', async () => {
    const world = new World(6);
    const { log, outcome } = await open(world);
    const told: string[] = [];
    const tell = (error: SessionError | null, offset: number, count: number): void => {
      told.push(`${error?.code ?? 'stored'} ${offset} ${count}`);
    };
    log.appendRun(runOf('a', ['x'.repeat(16 * 1024 * 1024)]), tell);
    expect(told).toEqual([]);
    await world.settle();
    log.appendRun(runOf('a', ['1', '2']), tell);
    log.fail(new SessionError('SESSION_CLOSED', 'over'));
    log.appendRun(runOf('a', ['3', '4', '5']), tell);
    await world.pass(100);
    expect(told).toEqual(['SESSION_MESSAGE_REFUSED -1 1', 'SESSION_CLOSED -1 2', 'SESSION_CLOSED -1 3']);
    expect([log.underWay, outcome.failures]).toEqual([0, []]);
  });

  it('has no room when too much waits, and says when there is some again', async () => {
    const world = new World(8);
    const { log, outcome } = await open(world, 1000);
    log.appendRun(runOf('a', ['x'.repeat(400)]), () => undefined);
    expect(log.hasRoom).toBe(true);
    log.appendRun(runOf('a', ['x'.repeat(600)]), () => undefined);
    expect(log.hasRoom).toBe(false);
    await world.pass(100);
    expect([log.hasRoom, outcome.rooms]).toEqual([true, 1]);
  });
});
