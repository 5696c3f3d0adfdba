import { describe, expect, it } from 'vitest';
import type { Message } from '../../../../src/raft/consensus/types.ts';
import { TestGroup } from '../../../support/consensus/test-group.ts';
import { command, membershipOf, positionOf, TestReplica, textOf } from '../../../support/consensus/test-replica.ts';

const nothing = new Uint8Array(0);
const isAppend = (message: Message) => message.type === 'append';

describe('Consensus', () => {
  it('tick() does elect a leader, and keeps it', () => {
    const group = new TestGroup([1, 2, 3]);
    group.tick(1, 15);
    group.stabilize();
    expect(group.leader()).toBe(1);
    for (let i = 0; i < 100; i++) {
      for (const id of [1, 2, 3]) group.tick(id);
      group.stabilize();
    }
    expect(group.at(1).core.status()).toMatchObject({ role: 'leader', term: 1 });
  });

  it('tick() does replace a leader that is gone within two time-outs', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    for (let i = 0; i < 30 && (group.leader() === 1 || group.leader() === 0); i++) {
      group.tick(2);
      group.stabilize([2, 3]);
      if (group.at(2).core.status().role === 'leader') break;
      group.tick(3);
      group.stabilize([2, 3]);
    }
    expect(group.at(2).core.status().role === 'leader' || group.at(3).core.status().role === 'leader').toBe(true);
  });

  it('reportUnreachable() of the leader does let its voters campaign soon, one after the other', () => {
    const group = new TestGroup([1, 2, 3, 4, 5]);
    group.elect(4);
    const rest = [1, 2, 3, 5];
    for (const id of rest) group.at(id).core.reportUnreachable(4);
    const ticksUntil = (id: number): number => {
      for (let ticks = 1; ticks < 15; ticks++) {
        group.tick(id);
        if (group.at(id).core.status().role !== 'follower') return ticks;
      }
      return 0;
    };
    expect(rest.map(ticksUntil)).toEqual([1, 3, 5, 7]);
  });

  it('reportUnreachable() of a leader that lives does not depose it', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.at(2).core.reportUnreachable(1);
    group.tick(2, 3);
    group.stabilize();
    expect(group.at(1).core.status()).toMatchObject({ role: 'leader', term: 1 });
    group.tick(1, 2);
    group.stabilize();
    expect(group.at(2).core.status()).toMatchObject({ role: 'follower', leader: 1, term: 1 });
    group.tick(2, 9);
    expect(group.at(2).core.status().role).toBe('follower');
  });

  it('propose() does apply the same commands in the same order everywhere', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    for (let i = 0; i < 20; i++) {
      group.propose(1, `a${i}`, `b${i}`);
      group.propose(2, `c${i}`);
      group.stabilize();
    }
    const applied = (id: number) => group.at(id).applied.map(textOf);
    expect(applied(1)).toHaveLength(61);
    expect(applied(2)).toEqual(applied(1));
    expect(applied(3)).toEqual(applied(1));
  });

  it('propose() does send many calls of one round as one append per follower', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.sent = [];
    for (let i = 0; i < 300; i++) group.propose(1, `x${i}`);
    group.settle(1);
    expect(group.sent.filter(isAppend)).toHaveLength(2);
  });

  it('ready() does tell of a commit with the next entries, and on its own only when it is asked to', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.sent = [];
    group.propose(1, 'a');
    group.run();
    const { core } = group.at(1);
    expect([core.status().commit, group.at(2).core.status().commit]).toEqual([2, 1]);
    expect(group.sent.filter(isAppend)).toHaveLength(2);
    group.propose(1, 'b');
    group.run();
    expect(group.at(2).core.status().commit).toBe(2);
    expect([core.untoldCommit(), group.at(2).core.untoldCommit()]).toEqual([3, 0]);
    core.tellCommit(3);
    group.run();
    expect([group.at(2).core.status().commit, group.at(3).core.status().commit]).toEqual([3, 3]);
    expect(core.untoldCommit()).toBe(0);
    core.tellCommit(3);
    expect(core.hasReady()).toBe(false);
  });

  it('ready() does tell of a commit at once whoever passed the command on, or waits with a read', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.propose(2, 'a');
    group.run();
    const commitOf = (id: number): number => group.at(id).core.status().commit;
    expect([commitOf(1), commitOf(2), commitOf(3)]).toEqual([2, 2, 1]);
    group.propose(1, 'b');
    group.run();
    expect([commitOf(1), commitOf(2), commitOf(3)]).toEqual([3, 2, 2]);
    group.at(3).core.readIndex(7);
    group.run();
    expect(group.at(3).readStates).toEqual([{ context: 7, index: 3 }]);
    expect(commitOf(3)).toBe(3);
  });

  it('ready() does tell a member at once that it is removed', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.at(1).core.proposeMembership({ changes: [{ action: 'remove', replica: 3 }], context: nothing });
    group.run();
    expect(group.at(3).core.status().membership.voters).toEqual([1, 2]);
  });

  it('propose() does split what it forwards by size', () => {
    const group = new TestGroup([1, 2], { messageBytesMax: 100 });
    group.elect(1);
    group.sent = [];
    group.propose(2, ...Array.from({ length: 10 }, (_, i) => `${i}`));
    group.stabilize();
    expect(group.sent.filter((message) => message.type === 'propose')).toHaveLength(4);
    expect(group.at(2).applied.map(textOf).slice(1)).toEqual(Array.from({ length: 10 }, (_, i) => `${i}`));
  });

  it('propose() does refuse membership entries on a leader', () => {
    const group = new TestGroup([1]);
    group.elect(1);
    expect(() => group.at(1).core.propose([{ kind: 1, data: nothing }])).toThrow('through proposeMembership');
  });

  it('ready() does say nothing twice', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.propose(1, 'a');
    const { core } = group.at(1);
    const first = core.ready();
    expect(first.entries).toHaveLength(1);
    expect(core.hasReady()).toBe(false);
    const second = core.ready();
    expect(second).toMatchObject({
      number: first.number + 1,
      hardState: null,
      entries: [],
      messages: [],
      mustSync: false,
    });
  });

  it('ready() does not ask for a sync when only the commit index moved', () => {
    const group = new TestGroup([1]);
    group.elect(1);
    group.propose(1, 'a');
    group.at(1).take();
    group.at(1).persistOne();
    expect(group.at(1).take()).toMatchObject({ mustSync: false, hardState: { commit: 2 } });
  });

  it('ready() does not answer an append before it is durable', () => {
    const group = new TestGroup([1, 2]);
    group.elect(1);
    group.propose(1, 'a');
    group.settle(1);
    for (const message of group.network) group.at(2).receive(message);
    const round = group.at(2).take();
    expect(round.messages).toEqual([]);
    expect(round.messagesAfterPersist).toMatchObject([{ type: 'append-response', index: 2 }]);
  });

  it('status() does tell of followers only on the leader', () => {
    const group = new TestGroup([1, 2], {}, [3]);
    group.elect(1);
    expect([...group.at(1).core.status().progress.keys()].sort()).toEqual([1, 2, 3]);
    expect(group.at(2).core.status().progress.size).toBe(0);
    expect([1, 2, 3].map((id) => group.at(id).core.status().isLearner)).toEqual([false, false, true]);
  });

  it('campaign() does nothing on a learner, which still votes', () => {
    const group = new TestGroup([1, 2], {}, [3]);
    group.at(3).core.campaign();
    expect(group.at(3).core.status().role).toBe('follower');
    // 1 believes that 3 is a voter: it was promoted, and 3 has not heard.
    group.at(3).core.step({
      type: 'vote',
      from: 1,
      to: 3,
      term: 4,
      preVote: false,
      lastIndex: 1,
      lastTerm: 1,
      isTransfer: false,
    });
    group.settle(3);
    expect(group.network).toMatchObject([{ type: 'vote-response', isGranted: true, term: 4 }]);
  });

  it('step() does give one vote per term', () => {
    const replica = new TestReplica(1, positionOf(0, 0, membershipOf([1, 2, 3])));
    const vote = {
      type: 'vote',
      to: 1,
      term: 1,
      preVote: false,
      lastIndex: 0,
      lastTerm: 0,
      isTransfer: false,
    } as const;
    for (const from of [2, 3, 2]) replica.core.step({ ...vote, from });
    replica.settle();
    expect(replica.outbox.map((message) => message.type === 'vote-response' && message.isGranted)).toEqual([
      true,
      false,
      true,
    ]);
    replica.crashAndRestart();
    replica.core.step({ ...vote, from: 3 });
    replica.settle();
    expect(replica.outbox).toMatchObject([{ isGranted: false }]);
  });

  it('step() does not vote for a log that is behind', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.isLost = (message) => message.to === 3;
    group.propose(1, 'a');
    group.stabilize();
    group.isLost = () => false;
    group.tick(2, 10);
    group.at(1).crashAndRestart();
    group.elect(3);
    expect(group.at(3).core.status().role).not.toBe('leader');
    group.elect(2);
    expect(group.leader()).toBe(2);
  });

  it('step() does commit only what agrees with the leader, not what lies behind it', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.isLost = isAppend;
    group.propose(1, 'of 1 alone');
    group.settle(1);
    const heard = { type: 'append', from: 2, to: 1, term: 2, previousIndex: 1, previousTerm: 1, commit: 2 } as const;
    group.at(1).core.step({ ...heard, entries: [] });
    expect(group.at(1).core.status()).toMatchObject({ term: 2, commit: 1, lastIndex: 2 });
  });

  it('step() does ignore votes while the leader is alive, except for a transfer', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    const vote = { type: 'vote', from: 3, to: 2, term: 9, preVote: false, lastIndex: 9, lastTerm: 9 } as const;
    group.at(2).core.step({ ...vote, isTransfer: false });
    expect(group.at(2).core.status()).toMatchObject({ term: 1, leader: 1 });
    group.at(2).core.step({ ...vote, isTransfer: true });
    expect(group.at(2).core.status()).toMatchObject({ term: 9, leader: 0 });
  });

  it('transferLeadership() does refuse proposals in the meantime and ends with the new leader', () => {
    const group = new TestGroup([1, 2, 3], {}, [4]);
    group.elect(1);
    group.at(1).core.transferLeadership(4);
    expect(group.propose(1, 'to a learner: no')).toBe('accepted');
    group.at(1).core.transferLeadership(3);
    expect(group.propose(1, 'x')).toBe('transferring');
    expect(group.at(1).core.proposeMembership({ changes: [], context: nothing })).toBe('transferring');
    group.stabilize();
    expect(group.leader()).toBe(3);
  });

  it('transferLeadership() does not put off the check of the quorum', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.isLost = () => true;
    for (let i = 0; i < 20; i++) {
      group.at(1).core.transferLeadership(2 + (i % 2));
      group.tick(1);
    }
    expect(group.at(1).core.status().role).toBe('follower');
  });

  it('readIndex() does answer on a group of one, with learners, at once', () => {
    const group = new TestGroup([1], {}, [2]);
    group.elect(1);
    group.at(1).core.readIndex(5);
    expect(group.at(1).core.ready().readStates).toEqual([{ context: 5, index: 1 }]);
  });

  it('readIndex() does not answer without a majority', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.isLost = (message) => message.from === 1;
    group.at(1).core.readIndex(5);
    group.stabilize();
    expect(group.at(1).readStates).toEqual([]);
    group.isLost = (message) => message.from === 1 && message.to === 3;
    group.tick(1);
    group.stabilize();
    expect(group.at(1).readStates).toEqual([{ context: 5, index: 1 }]);
  });

  it('readIndex() does not count learners', () => {
    const group = new TestGroup([1, 2, 3], {}, [4, 5]);
    group.elect(1);
    group.isLost = (message) => message.to === 2 || message.to === 3;
    group.at(1).core.readIndex(5);
    group.tick(1);
    group.stabilize();
    expect(group.at(1).readStates).toEqual([]);
  });

  it('applyMembership() does let a smaller group commit what the larger one could not', () => {
    const group = new TestGroup([1, 2, 3, 4]);
    group.elect(1);
    group.isLost = (message) => message.to > 2;
    const change = { changes: [{ action: 'remove', replica: 4 }], context: nothing } as const;
    group.at(1).core.proposeMembership(change);
    group.isLost = (message) => message.to === 4;
    group.stabilize([1, 2, 3]);
    group.isLost = (message) => message.to > 2;
    group.propose(1, 'two of three');
    group.stabilize([1, 2]);
    expect(textOf(group.at(1).applied.at(-1)!)).toBe('two of three');
  });

  it('applyMembership() does nothing for a refused change', () => {
    const group = new TestGroup([1, 2, 3]);
    expect(group.at(1).core.applyMembership(null)).toEqual(membershipOf([1, 2, 3]));
    const invalid = { changes: [{ action: 'remove', replica: 9 }], context: nothing } as const;
    expect(group.at(1).core.applyMembership(invalid)).toEqual(membershipOf([1, 2, 3]));
  });

  it('applied() does leave a joint configuration under a new leader too', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.add(4);
    group.add(5);
    group.at(1).core.proposeMembership({
      changes: [
        { action: 'add-voter', replica: 4 },
        { action: 'add-voter', replica: 5 },
      ],
      context: nothing,
    });
    // The joint configuration is in force everywhere; the entry that leaves it gets nowhere.
    group.isLost = (message) => message.type === 'append' && message.entries.some(({ index }) => index > 2);
    group.stabilize();
    group.tick(1);
    group.stabilize();
    expect(group.at(2).core.status().membership.outgoing).toEqual([1, 2, 3]);
    group.at(1).crashAndRestart();
    group.isLost = (message) => message.from === 1 || message.to === 1;
    for (const id of [3, 4, 5]) group.tick(id, 10);
    group.elect(2);
    group.stabilize();
    expect(group.leader()).toBe(2);
    expect(group.at(2).core.status().membership).toEqual(membershipOf([1, 2, 3, 4, 5]));
  });

  it('reportSnapshot() does send again what failed', () => {
    const group = new TestGroup([1, 2]);
    group.elect(1);
    group.propose(1, 'a', 'b');
    group.stabilize();
    group.at(1).compact();
    group.add(3);
    let failures = 0;
    group.isLost = (message) => message.type === 'snapshot' && failures++ < 2;
    group.at(1).core.proposeMembership({ changes: [{ action: 'add-learner', replica: 3 }], context: nothing });
    for (let i = 0; i < 4; i++) {
      group.stabilize();
      group.tick(1);
    }
    group.stabilize();
    expect(failures).toBeGreaterThan(2);
    expect(group.at(3).state.index).toBe(group.at(1).state.index);
    expect(group.at(1).core.status().progress.get(3)?.state).toBe('replicate');
  });

  it('ready() does hold a slow follower to its limits of messages and bytes', () => {
    const group = new TestGroup([1, 2], { messageBytesMax: 64, inflightMessagesMax: 3, inflightBytesMax: 150 });
    group.elect(1);
    group.isLost = (message) => message.from === 2;
    group.sent = [];
    for (let i = 0; i < 50; i++) {
      group.at(1).core.propose([command('0123456789')]);
      group.stabilize();
    }
    expect(group.sent.filter((message) => message.type === 'append' && message.entries.length > 0)).toHaveLength(3);
    group.isLost = () => false;
    group.tick(1);
    group.stabilize();
    expect(group.at(2).state.index).toBe(51);
  });

  it('crash and restart do bring back term, vote and log', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.propose(1, 'a');
    group.stabilize();
    for (const replica of group.replicas.values()) replica.crashAndRestart();
    expect(group.at(2).core.status()).toMatchObject({ term: 1, lastIndex: 2, leader: 0 });
    group.elect(3);
    expect(group.at(3).applied.map(textOf)).toEqual(['', 'a', '']);
  });

  it('a state machine that is ahead of the log after a crash does begin a new log there', () => {
    // A leader has applied and stored what a quorum of others holds, and its own disk lost it.
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    const leader = group.at(1);
    group.propose(1, 'a');
    leader.take();
    group.collect(leader);
    const messages = group.network;
    group.network = [];
    for (const message of messages) group.deliver(message);
    for (const id of [2, 3]) group.settle(id);
    for (const message of group.network) group.deliver(message);
    group.network = [];
    leader.take();
    leader.apply();
    expect(leader.state.index).toBe(2);
    leader.durableState = leader.state;
    leader.crashAndRestart();
    expect(leader.core.status()).toMatchObject({ lastIndex: 2, applied: 2, commit: 2, term: 1 });
    group.tick(2, 10);
    group.tick(3, 10);
    group.elect(2);
    expect(leader.state.index).toBe(3);
  });
});
