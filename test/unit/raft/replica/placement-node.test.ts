/** One node on its own: writes, reads, limits, faults. */
import { afterEach, describe, expect, it } from 'vitest';
import { deletionOf, getOf, LocalGroup, read, setOf, timeLimit, valueIn, write } from './local-group.ts';

let group: LocalGroup;
afterEach(() => group.close());

describe('LocalPlacementNode, a group of one', () => {
  it('execute() writes and query() reads it, before the first election time-out has passed', async () => {
    group = await LocalGroup.found(1, { electionTicks: 1_000 });
    const [one] = group.nodes;
    expect(await write(one, 'key', 'value')).toMatchObject({ type: 'transaction', succeeded: true, revision: 1 });
    expect(await read(one, 'key')).toBe('value');
    expect(await read(one, 'key', 'serializable')).toBe('value');
    expect(one.node.status()).toMatchObject({
      clusterId: 'test',
      leader: '1',
      role: 'leader',
      revision: 1,
      fault: null,
      members: [{ replica: '1', name: 'node-1', address: '127.0.0.1:10001', role: 'voter', isLeader: true }],
    });
  });

  it('isAlone is true for a leader without others only, learners included', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    await write(one, 'key', 'value');
    expect(one.node.isAlone).toBe(true);
    await one.node.addLearner({ ...group.memberOf(2), replica: '2' });
    expect(one.node.isAlone).toBe(false);
    await one.node.remove('2');
    await group.until('a group of one again', () => one.node.isAlone);
  });

  it('tick() does what has become due before it returns', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    await one.node.execute({ type: 'lease-grant', lease: 7, ttlMs: 1_000 }, { requestId: null, ...timeLimit });
    clearInterval(one.ticker);
    const { appends } = one;
    let within = 0;
    await group.until('the end of the lease', () => {
      const before = one.appends;
      one.node.tick();
      within += one.appends - before;
      return one.appends > appends;
    });
    expect(within).toBe(one.appends - appends);
  });

  it('execute() of many calls in one turn shares writes to the log', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    await write(one, 'first', '');
    const before = one.appends;
    await Promise.all(Array.from({ length: 500 }, (_, index) => write(one, `key-${index}`, 'value')));
    expect(one.appends - before).toBeLessThan(10);
  });

  it('keeps what it acknowledged over a restart without an orderly end', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    for (let index = 0; index < 20; index++) await write(one, `key-${index}`, `${index}`);
    await group.restart(one);
    expect(await read(one, 'key-19')).toBe('19');
    expect(one.node.status().revision).toBe(20);
  });

  it('execute() is refused with OVERLOADED when too many calls wait, and none of the others is lost', async () => {
    group = await LocalGroup.found(1, { pendingMax: 10 });
    const [one] = group.nodes;
    const outcomes = await Promise.allSettled(Array.from({ length: 15 }, (_, index) => write(one, `${index}`, '')));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'OVERLOADED' });
    }
  });

  it('refuses what grows with DISK_FULL before the disk is full, and takes deletions and reads', async () => {
    group = await LocalGroup.found(1, { diskReserveBytes: 1_000 });
    const [one] = group.nodes;
    await write(one, 'key', 'value');
    one.freeBytes = 500;
    await expect(async () => {
      for (;;) await write(one, 'other', 'value');
    }).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await read(one, 'key')).toBe('value');
    const deletion = await one.node.execute(deletionOf('key'), { requestId: null, ...timeLimit });
    expect(deletion).toMatchObject({ succeeded: true });
    one.freeBytes = 2_000;
    await group.until('room', () => one.node.replica.fault === null && one.freeBytes > 1_000);
    await expect
      .poll(() =>
        write(one, 'other', 'value').then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
  });

  it('leaves service when the log fails: what waits and what comes is refused, and it says why', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    await write(one, 'key', 'value');
    one.failWith = new Error('the disk is broken');
    await expect(write(one, 'key', 'other')).rejects.toMatchObject({ code: 'CORRUPTED' });
    await expect(write(one, 'key', 'other')).rejects.toMatchObject({ code: 'CORRUPTED' });
    await expect(one.node.query(getOf('key'), timeLimit)).rejects.toMatchObject({ code: 'CORRUPTED' });
    expect(one.faults.map(({ message }) => message)).toEqual(['the disk is broken']);
    expect(one.node.status()).toMatchObject({ role: 'stopped', leader: null, fault: 'the disk is broken' });
  });

  it('stop() answers what waits with STOPPED and ends watches', async () => {
    group = await LocalGroup.found(2);
    const [one, two] = group.nodes;
    await group.kill(two);
    const ends: string[] = [];
    const watch = { key: Buffer.from('k'), end: null, fromRevision: 0, withPrevious: false };
    one.node.watch(watch, { onBatch: () => undefined, onEnd: ({ code }) => ends.push(code) });
    const waiting = write(one, 'key', 'value', 60_000);
    const reading = one.node.query(getOf('key'), { timeoutMs: 60_000 });
    const outcomes = Promise.allSettled([waiting, reading]);
    await one.node.stop(0);
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'STOPPED' } });
    }
    await expect.poll(() => ends).toEqual(['STOPPED']);
  });

  it('calls end with NO_LEADER when there is none within their time', async () => {
    group = await LocalGroup.found(2);
    const [one, two] = group.nodes;
    await group.kill(two);
    const writing = one.node.execute(setOf('key', 'value'), { requestId: null, timeoutMs: 100 });
    await expect(writing).rejects.toMatchObject({ code: 'NO_LEADER' });
    await expect(one.node.query(getOf('key'), { timeoutMs: 100 })).rejects.toMatchObject({ code: 'NO_LEADER' });
    expect(valueIn(await one.node.query(getOf('key', 'serializable'), timeLimit))).toBeNull();
    await expect(one.node.keepAlive(1, timeLimit)).rejects.toMatchObject({ code: 'NO_LEADER' });
  });
});

describe('LocalPlacementNode, leases and nodes', () => {
  it('a lease that nobody keeps alive ends with its keys; one that is kept does not', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    const options = { requestId: null, ...timeLimit };
    await one.node.execute({ type: 'lease-grant', lease: 7, ttlMs: 1_000 }, options);
    await one.node.execute({ type: 'lease-grant', lease: 8, ttlMs: 1_000 }, options);
    for (const lease of [7, 8]) {
      const set = {
        type: 'set',
        key: Buffer.from(`of-${lease}`),
        value: Buffer.from(''),
        lease,
        returnPrevious: false,
      } as const;
      await one.node.execute({ type: 'transaction', compares: [], success: [set], failure: [] }, options);
    }
    const keeping = setInterval(() => void one.node.keepAlive(8, timeLimit), 100);
    try {
      await expect.poll(() => read(one, 'of-7'), { timeout: 10_000 }).toBeNull();
      expect(await read(one, 'of-8')).toBe('');
    } finally {
      clearInterval(keeping);
    }
    expect(await one.node.keepAlive(7, timeLimit)).toMatchObject({ type: 'refused', code: 'LEASE_NOT_FOUND' });
  });
});
