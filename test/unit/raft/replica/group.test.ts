/** Several nodes: any of them answers, the loss of one changes nothing, members come and go. */
import { afterEach, describe, expect, it } from 'vitest';
import { getOf, LocalGroup, memberIn, read, write } from './local-group.ts';

let group: LocalGroup;
afterEach(() => group.close());

describe('LocalPlacementNode, a group of three', () => {
  it('writes on any node and reads it on any other, linearizable', async () => {
    group = await LocalGroup.found(3);
    await group.leader();
    for (const [index, writer] of group.nodes.entries()) {
      await write(writer, 'key', `value-${index}`);
      for (const reader of group.nodes) expect(await read(reader, 'key')).toBe(`value-${index}`);
    }
  });

  it('answers again after the leader was lost, with everything that was acknowledged', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    await write(leader, 'before', '1');
    await group.kill(leader);
    const next = await group.leader();
    expect(await read(next, 'before')).toBe('1');
    await write(next, 'after', '2');
    await group.restart(leader);
    expect(await read(leader, 'after')).toBe('2');
  });

  it('a leader without a quorum neither writes nor reads', async () => {
    group = await LocalGroup.found(3);
    const old = await group.leader();
    await write(old, 'key', 'old');
    group.disconnect(old);
    const lost = write(old, 'key', 'lost', 1_000);
    const stale = old.node.query({ ...query('key'), consistency: 'linearizable' }, { timeoutMs: 1_000 });
    await expect(Promise.allSettled([lost, stale])).resolves.toMatchObject([
      { status: 'rejected' },
      { status: 'rejected' },
    ]);
    const next = await group.leader();
    await write(next, 'key', 'new');
    group.reconnect(old);
    await group.until('it follows again', () => old.node.status().leader !== null);
    expect(await read(old, 'key')).toBe('new');
  });

  it('calls at a replica that is cut off end with NO_LEADER long before their time, whether it led or followed', async () => {
    group = await LocalGroup.found(3);
    for (const pick of [() => group.leader(), () => group.follower()]) {
      await group.leader();
      const alone = await pick();
      await write(alone, 'key', 'old');
      group.disconnect(alone);
      const patient = { timeoutMs: 600_000 };
      const calls = [
        write(alone, 'key', 'lost', patient.timeoutMs),
        alone.node.query(getOf('key'), patient),
        alone.node.query(getOf('other'), patient),
      ];
      for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'NO_LEADER' });
      // Those that come later wait no longer.
      const late = write(alone, 'key', 'late', patient.timeoutMs);
      await expect(late).rejects.toMatchObject({ code: 'NO_LEADER' });
      expect(await read(alone, 'key', 'serializable')).toBe('old');
      const next = await group.leader();
      await write(next, 'key', 'new');
      group.reconnect(alone);
      await group.until('it follows again', () => alone.node.status().leader !== null);
      expect(await read(alone, 'key')).toBe('new');
    }
  });

  it('transferLeadership() moves leadership, and only the leader takes it', async () => {
    group = await LocalGroup.found(3);
    const follower = await group.follower();
    const target = String(follower.member.replica);
    const leader = await group.leader();
    await expect(follower.node.transferLeadership(target)).rejects.toMatchObject({
      code: 'NOT_LEADER',
      leaderAddress: leader.member.address,
    });
    await expect(leader.node.transferLeadership('99')).rejects.toMatchObject({ code: 'MEMBERSHIP_REFUSED' });
    await expect(leader.node.transferLeadership('zero')).rejects.toMatchObject({ code: 'MEMBERSHIP_REFUSED' });
    expect((await leader.node.transferLeadership(target)).leader).toBe(target);
  });

  it('stop() hands leadership over', async () => {
    group = await LocalGroup.found(3, { electionTicks: 400 });
    const [one] = group.nodes;
    one.node.replica.tick();
    for (let tick = 0; tick < 900 && one.node.status().role !== 'leader'; tick++) one.node.replica.tick();
    const leader = await group.leader();
    await write(leader, 'key', 'value');
    await leader.node.stop(5_000);
    leader.isRunning = false;
    // Far sooner than the time-out: the others were told.
    const next = await group.leader();
    expect(await read(next, 'key')).toBe('value');
    await leader.storage.close();
  });

  it('a follower whose disk is nearly full stays, and goes on when there is room', async () => {
    group = await LocalGroup.found(3, { diskReserveBytes: 1_000 });
    const follower = await group.follower();
    follower.freeBytes = 10;
    const leader = await group.leader();
    await write(leader, 'key', 'value');
    const codeOfWrite = () =>
      write(follower, 'other', 'value', 300).then(
        () => '',
        ({ code }: { code: string }) => code,
      );
    await expect.poll(codeOfWrite, { timeout: 10_000 }).toBe('DISK_FULL');
    follower.freeBytes = 2 ** 30;
    await expect.poll(() => read(follower, 'key', 'serializable'), { timeout: 10_000 }).toBe('value');
    expect(follower.faults).toEqual([]);
  });
});

describe('LocalPlacementNode, membership', () => {
  it('grows from one to three and shrinks to one, with writes in between', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    for (const replica of [2, 3]) {
      await write(one, `before-${replica}`, '1');
      const { node } = await group.add(group.memberOf(replica));
      const status = await one.node.addLearner({ ...group.memberOf(replica), replica: String(replica) });
      expect(memberIn(status, replica)).toMatchObject({ role: 'learner', name: `node-${replica}` });
      await expect
        .poll(() =>
          one.node.promote(String(replica)).then(
            () => true,
            () => false,
          ),
        )
        .toBe(true);
      await group.until('a voter', () => memberIn(node.status(), replica)?.role === 'voter');
      await write(one, `after-${replica}`, '1');
    }
    const leader = await group.leader();
    for (const { member } of group.nodes) {
      if (member.replica === leader.member.replica) continue;
      const status = await leader.node.remove(String(member.replica));
      expect(memberIn(status, member.replica)).toBeUndefined();
    }
    await write(leader, 'alone', '1');
    await expect(leader.node.remove(String(leader.member.replica))).rejects.toMatchObject({
      code: 'MEMBERSHIP_REFUSED',
      message: expect.stringContaining('last voter'),
    });
  });

  it('remove() is answered again when it is asked again, and refused for whoever never was a member', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    const follower = await group.follower();
    const id = String(follower.member.replica);
    await leader.node.remove(id);
    expect((await leader.node.remove(id)).members).toHaveLength(2);
    await expect(leader.node.remove('12345')).rejects.toMatchObject({ code: 'MEMBERSHIP_REFUSED' });
  });

  it('remove() refuses what would lose the quorum', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    const [dead, alive] = group.nodes.filter((made) => made !== leader);
    await group.kill(dead);
    await group.until(
      'the loss is noticed',
      () => memberIn(leader.node.status(), dead.member.replica)?.isReachable === false,
    );
    await expect(leader.node.remove(String(alive.member.replica))).rejects.toMatchObject({
      code: 'MEMBERSHIP_REFUSED',
      message: expect.stringContaining('lose its quorum'),
    });
    const status = await leader.node.remove(String(dead.member.replica));
    expect(status.members).toHaveLength(2);
  });

  it('remove() of the leader hands over first, and the next leader removes it, without an election time-out', async () => {
    group = await LocalGroup.found(3, { electionTicks: 1_000 });
    const [one] = group.nodes;
    for (let tick = 0; tick < 2_000 && one.node.status().role !== 'leader'; tick++) {
      one.node.replica.tick();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const old = await group.leader();
    await write(old, 'key', 'value');
    const own = String(old.member.replica);
    const refusal = await old.node.remove(own).catch((error: unknown) => error);
    const next = await group.leader();
    expect(next).not.toBe(old);
    expect(refusal).toMatchObject({ code: 'NOT_LEADER', leaderAddress: next.member.address });
    expect((await next.node.remove(own)).members).toHaveLength(2);
    await write(next, 'key', 'other');
    expect(next.node.status().term).toBe(old.node.status().term);
  });

  it('a change is answered when a majority knows that it is committed, also one that was made before', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    const followers = group.nodes.filter((made) => made !== leader);
    for (const replica of [8, 9]) {
      await write(leader, `before-${replica}`, '');
      const { lastIndex } = leader.node.status();
      await leader.node.addLearner({ ...group.memberOf(replica), replica: String(replica) });
      const known = followers.map(({ node }) => node.status().commitIndex);
      expect(Math.max(...known)).toBeGreaterThan(lastIndex);
    }
    await leader.node.transferLeadership(String(followers[0].member.replica));
    const next = await group.leader();
    const { members } = await next.node.addLearner({ ...group.memberOf(8), replica: '8' });
    expect(members).toHaveLength(5);
  });

  it('status() says who is reachable, and on a follower that it cannot tell of other followers', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    const [one, other] = group.nodes.filter((made) => made !== leader);
    const seen = () =>
      [leader, one, other].map(({ member }) => memberIn(one.node.status(), member.replica)?.isReachable);
    await group.until('followers are silent to each other', () => seen()[2] === null);
    expect(seen()).toEqual([true, true, null]);
    const { members } = leader.node.status();
    expect(members.map(({ isReachable }) => isReachable)).toEqual([true, true, true]);
  });

  it('promote() refuses who is no learner or cannot be reached', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    await write(one, 'key', 'value');
    await expect(one.node.promote('5')).rejects.toMatchObject({ message: expect.stringContaining('not a learner') });
    await one.node.addLearner({ ...group.memberOf(5), replica: '5' });
    await group.until('the learner is missed', () => memberIn(one.node.status(), 5)?.isReachable === false);
    await expect(one.node.promote('5')).rejects.toMatchObject({
      message: expect.stringContaining('cannot be reached'),
    });
  });

  it('join() makes a voter of a node that begins with nothing, by a snapshot when the log is gone', async () => {
    group = await LocalGroup.found(1, { keptEntries: 5 });
    const [one] = group.nodes;
    await write(one, 'first', 'value');
    await expect
      .poll(
        async () => {
          await Promise.all(Array.from({ length: 200 }, (_, index) => write(one, `key-${index}`, 'value')));
          return one.node.status().firstIndex;
        },
        { timeout: 15_000, interval: 100 },
      )
      .toBeGreaterThan(10);
    const { node } = await group.add(group.memberOf(2));
    await one.node.join({ ...group.memberOf(2), replica: '2' });
    await group.until('a second voter', () => memberIn(node.status(), 2)?.role === 'voter');
    expect(node.status().firstIndex).toBeGreaterThan(1);
    expect(await read(group.nodes[1], 'first')).toBe('value');
    expect(node.status().clusterId).toBe('test');
  });

  it('join() of a node whose disk was wiped replaces its earlier life', async () => {
    group = await LocalGroup.found(3);
    const leader = await group.leader();
    await write(leader, 'key', 'value');
    const lost = await group.follower();
    await group.kill(lost);
    await group.until(
      'the loss is noticed',
      () => memberIn(leader.node.status(), lost.member.replica)?.isReachable === false,
    );
    const member = { ...lost.member, replica: 77 };
    const back = await group.add(member);
    await leader.node.join({ ...member, replica: '77' });
    await group.until('the new life votes', () => memberIn(leader.node.status(), 77)?.role === 'voter');
    await group.until('the old one is gone', () => memberIn(leader.node.status(), lost.member.replica) === undefined);
    expect(leader.node.status().members).toHaveLength(3);
    expect(await read(back, 'key')).toBe('value');
  });

  it('join() of a member lets the group know where it is now', async () => {
    group = await LocalGroup.found(1);
    const [one] = group.nodes;
    await write(one, 'key', 'value');
    const moved = await one.node.join({ replica: '1', name: 'node-1', address: '127.0.0.1:9' });
    expect(memberIn(moved, 1)).toMatchObject({ address: '127.0.0.1:9', role: 'voter' });
    await group.restart(one);
    await expect.poll(() => memberIn(one.node.status(), 1)?.address).toBe('127.0.0.1:9');
  });
});

function query(key: string) {
  return {
    type: 'range' as const,
    key: Buffer.from(key),
    end: null,
    limit: 1,
    isReverse: false,
    keysOnly: false,
    countOnly: false,
  };
}
