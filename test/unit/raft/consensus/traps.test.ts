/**
 * The traps that others fell into, one test each, named after where it happened. Some have a scenario in test/golden/raft as
 * well, which shows every message.
 */
import { describe, expect, it } from 'vitest';
import { encodeMembershipChange } from '../../../../src/raft/consensus/membership-codec.ts';
import type { AppendRequest, Entry, Message } from '../../../../src/raft/consensus/types.ts';
import { TestGroup } from '../../../support/consensus/test-group.ts';
import { membershipOf, positionOf, TestReplica, textOf } from '../../../support/consensus/test-replica.ts';

const nothing = new Uint8Array(0);

function entry(index: number, term: number, text = ''): Entry {
  return { index, term, kind: 0, data: new TextEncoder().encode(text) };
}

function append(term: number, from: number, previous: Entry, entries: Entry[], commit: number): AppendRequest {
  const { index: previousIndex, term: previousTerm } = previous;
  return { type: 'append', from, to: 1, term, previousIndex, previousTerm, entries, commit };
}

function messages<T extends Message['type']>(sent: readonly Message[], type: T): Extract<Message, { type: T }>[] {
  return sent.filter((message): message is Extract<Message, { type: T }> => message.type === type);
}

describe('Consensus and the traps of others', () => {
  it('step() does answer pre-votes of older terms, so that mixed terms do not dead-lock (etcd#8501)', () => {
    const replica = new TestReplica(1, positionOf(0, 0, membershipOf([1, 2, 3])));
    replica.core.step(append(5, 2, entry(0, 0), [entry(1, 5)], 0));
    replica.settle();
    replica.outbox = [];
    const request = {
      type: 'vote',
      from: 3,
      to: 1,
      preVote: true,
      lastIndex: 9,
      lastTerm: 2,
      isTransfer: false,
    } as const;
    replica.core.step({ ...request, term: 3 });
    replica.settle();
    expect(replica.outbox).toMatchObject([{ type: 'vote-response', to: 3, term: 5, preVote: true, isGranted: false }]);
  });

  it('step() does take over the newer term of a refused pre-vote (openraft#1796, canonical/raft#280)', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.tick(2, 15);
    group.at(2).core.step({ type: 'vote-response', from: 3, to: 2, term: 7, preVote: true, isGranted: false });
    expect(group.at(2).core.status()).toMatchObject({ role: 'follower', term: 7 });
  });

  it('step() does grant pre-votes in the term that was asked for (canonical/raft#281)', () => {
    const group = new TestGroup([1, 2, 3]);
    // 3 stays in term 0, and its vote is needed.
    group.elect(1, [1, 2]);
    group.tick(2, 15);
    group.stabilize([2, 3]);
    expect(group.at(2).core.status()).toMatchObject({ role: 'leader', term: 2 });
  });

  it('proposeMembership() does wait for an entry of the own term to be committed (copycat#23)', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.isLost = (message) => message.type === 'append' && message.from === 2;
    group.tick(2, 10);
    group.tick(3, 10);
    group.elect(2);
    const change = { changes: [{ action: 'add-voter', replica: 4 }], context: nothing } as const;
    expect(group.at(2).core.status()).toMatchObject({ role: 'leader', commit: 1, applied: 1 });
    expect(group.at(2).core.proposeMembership(change)).toBe('not-ready');
    group.isLost = () => false;
    group.tick(2);
    group.stabilize();
    expect(group.at(2).core.proposeMembership(change)).toBe('accepted');
    expect(group.at(2).core.proposeMembership(change)).toBe('pending');
  });

  it('readIndex() does wait for an entry of the own term to be committed (etcd#7331)', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.isLost = (message) => message.type === 'append' && message.from === 2;
    group.tick(2, 10);
    group.tick(3, 10);
    group.elect(2);
    group.tick(2);
    group.stabilize();
    expect(group.at(2).core.readIndex(1)).toBe(true);
    expect(group.at(3).core.readIndex(2)).toBe(true);
    group.tick(2, 3);
    group.stabilize();
    expect([group.at(2).readStates, group.at(3).readStates]).toEqual([[], []]);
    group.isLost = () => false;
    group.tick(2);
    group.stabilize();
    expect(group.at(2).readStates).toEqual([{ context: 1, index: 2 }]);
    expect(group.at(3).readStates).toEqual([{ context: 2, index: 2 }]);
  });

  it('persisted() does not commit entries of earlier terms by counting (Raft, figure 8)', () => {
    // One entry per message.
    const group = new TestGroup([1, 2, 3, 4, 5], { messageBytesMax: 33 });
    group.elect(1);
    // Entry 2 of term 1 is on 1 and 2.
    group.isLost = (message) => message.type === 'append' && message.to > 2;
    group.propose(1, 'old');
    group.stabilize([1, 2]);
    // 5 leads term 2 with an entry that nobody else gets.
    for (const id of [3, 4, 5]) group.tick(id, 10);
    group.isLost = (message) => message.type === 'append' && message.from === 5;
    group.elect(5, [3, 4, 5]);
    // 1 leads term 3, or later, and brings entry 2 to a majority, but not its own entry.
    group.isLost = (message) => message.type === 'append' && message.entries.some(({ term }) => term > 2);
    group.at(1).crashAndRestart();
    for (const id of [2, 3]) group.tick(id, 10);
    group.elect(1, [1, 2, 3]);
    group.tick(1, 15);
    group.stabilize([1, 2, 3]);
    group.elect(1, [1, 2, 3]);
    const { role, term, commit } = group.at(1).core.status();
    expect([role, term > 2, commit]).toEqual(['leader', true, 1]);
    // Entry 2 alone reaches 3: a majority holds it, and still it is not committed.
    for (const from of [2, 3]) {
      const refusal = { type: 'append-response', from, to: 1, term, isRejected: true } as const;
      group.at(1).core.step({ ...refusal, index: 2, hintIndex: 1, hintTerm: 1 });
    }
    group.stabilize([1, 2, 3]);
    const held = group.at(3).log.all();
    expect(held.map((entry) => entry.term)).toEqual([1, 1]);
    expect(group.at(1).core.status().progress.get(3)?.match).toBe(2);
    expect(group.at(1).core.status().commit).toBe(1);
    group.isLost = () => false;
    group.tick(1);
    group.stabilize([1, 2, 3]);
    expect(group.at(1).core.status().commit).toBe(3);
  });

  it('step() does never move next below what a follower holds (etcd-io/raft#149)', () => {
    const group = new TestGroup([1, 2]);
    group.elect(1);
    group.propose(1, 'a', 'b');
    group.stabilize();
    const { core } = group.at(1);
    core.reportUnreachable(2);
    expect(core.status().progress.get(2)).toMatchObject({ state: 'probe', match: 3, next: 4 });
    // A refusal from long ago, which looks like the answer to the present probe.
    core.step({
      type: 'append-response',
      from: 2,
      to: 1,
      term: 1,
      index: 3,
      isRejected: true,
      hintIndex: 1,
      hintTerm: 1,
    });
    expect(core.status().progress.get(2)).toMatchObject({ match: 3, next: 4 });
    core.step({
      type: 'append-response',
      from: 2,
      to: 1,
      term: 1,
      index: 2,
      isRejected: true,
      hintIndex: 0,
      hintTerm: 0,
    });
    expect(core.status().progress.get(2)).toMatchObject({ match: 3, next: 4 });
    group.stabilize();
    expect(core.status().progress.get(2)).toMatchObject({ state: 'replicate', match: 3, next: 4 });
  });

  it('readIndex() does not believe repeated answers to an older heartbeat (etcd-io/raft#397, etcd#20418)', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.at(1).core.readIndex(1);
    group.stabilize();
    expect(group.at(1).readStates).toEqual([{ context: 1, index: 1 }]);
    const answers = messages(group.sent, 'heartbeat-response');
    expect(answers.length).toBeGreaterThan(1);
    // 1 is cut off and does not know that 2 leads and has committed more.
    group.isLost = (message) => message.from === 1 || message.to === 1;
    group.tick(2, 10);
    group.tick(3, 10);
    group.elect(2);
    group.propose(2, 'newer');
    group.stabilize();
    expect(group.at(2).core.status().commit).toBe(3);
    // The same read again, under the same context, and all answers of the past.
    group.at(1).core.readIndex(1);
    group.settle(1);
    for (const answer of answers) group.at(1).core.step(answer);
    group.settle(1);
    expect(group.at(1).readStates).toEqual([{ context: 1, index: 1 }]);
  });

  it('persisted() does not confuse two lives of one entry (ABA race of asynchronous appends)', () => {
    const replica = new TestReplica(1, positionOf(0, 0, membershipOf([1, 2, 3, 4, 5])));
    const { core } = replica;
    const durable = () => {
      // What was handed out for applying: a follower applies only what its own disk holds.
      if (core.hasReady()) replica.take();
      replica.apply();
      return replica.state.index;
    };
    // Entry 2 of term 1, from the leader of term 1.
    core.step(append(1, 2, entry(0, 0), [entry(1, 1), entry(2, 1, 'first')], 0));
    const first = replica.take();
    // Replaced by the leader of term 2.
    core.step(append(2, 3, entry(1, 1), [entry(2, 2, 'second')], 0));
    replica.take();
    // And back, by a leader of term 3 who holds the entry of term 1. All of it is committed.
    core.step(append(3, 4, entry(1, 1), [entry(2, 1, 'first')], 2));
    const third = replica.take();
    expect(first.entries.at(-1)).toMatchObject({ index: 2, term: 1 });
    expect(third.entries).toMatchObject([{ index: 2, term: 1 }]);
    // The first round is done: it speaks of (2, term 1), which the log holds again, but not of this copy.
    replica.persistOne();
    expect(durable()).toBe(1);
    replica.persistOne();
    expect(durable()).toBe(1);
    replica.persistOne();
    expect(durable()).toBe(2);
    expect(textOf(replica.applied[1]!)).toBe('first');
  });

  it('persisted() does count the leader only with what its own disk holds (thesis, section 10.2.1)', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    const leader = group.at(1);
    group.propose(1, 'a');
    leader.take();
    // The write is under way; the leader alone is no majority, and with 2 it is one only when its disk is done.
    const { term } = leader.core.status();
    const response = { type: 'append-response', to: 1, term, isRejected: false, hintIndex: 0, hintTerm: 0 } as const;
    leader.core.step({ ...response, from: 2, index: 2 });
    expect(leader.core.status().commit).toBe(1);
    leader.persistOne();
    expect(leader.core.status().commit).toBe(2);
  });

  it('ready() does not commit in a group of one before its disk is done (etcd#14370)', () => {
    const group = new TestGroup([1]);
    group.elect(1);
    const { core } = group.at(1);
    const before = core.status().commit;
    group.propose(1, 'a');
    const round = group.at(1).take();
    expect(round.mustSync).toBe(true);
    expect([round.committed, core.status().commit, core.hasReady()]).toEqual([[], before, false]);
    group.at(1).persistOne();
    expect(core.ready().committed.map(textOf)).toEqual(['a']);
  });

  it('campaign() does not elect a group of one before its vote is durable (etcd#14370)', () => {
    const group = new TestGroup([1]);
    const replica = group.at(1);
    replica.core.campaign();
    replica.take();
    expect(replica.core.status().role).toBe('candidate');
    replica.crashAndRestart();
    expect(replica.core.status()).toMatchObject({ role: 'follower', term: 0 });
  });

  it('ready() does hold requests for votes back until term and vote are durable', () => {
    // Else a candidate that is elected by the others, crashes and forgets the term, could lead it twice.
    const group = new TestGroup([1, 2, 3]);
    const replica = group.at(1);
    replica.core.campaign();
    replica.take();
    for (const from of [2, 3]) {
      replica.core.step({ type: 'vote-response', from, to: 1, term: 1, preVote: true, isGranted: true });
    }
    const round = replica.take();
    expect(messages(round.messages, 'vote')).toEqual([]);
    expect(messages(round.messagesAfterPersist, 'vote')).toHaveLength(2);
    expect(round).toMatchObject({ mustSync: true, hardState: { term: 1, vote: 1 } });
  });

  it('step() does take a snapshot that is older than the membership change which added it (etcd-io/raft#442)', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    group.propose(1, 'a');
    group.stabilize();
    const position = group.at(1).state;
    group.at(1).log.offered = position;
    group.at(1).compact();
    group.add(4);
    group.at(1).core.proposeMembership({ changes: [{ action: 'add-voter', replica: 4 }], context: nothing });
    group.stabilize();
    group.tick(1);
    group.stabilize();
    const [snapshot] = messages(group.sent, 'snapshot');
    // The position has the membership of its index, not that of the time of sending, and nobody changes it later.
    expect(snapshot?.position).toBe(position);
    expect(position.membership).toEqual(membershipOf([1, 2, 3]));
    expect(group.at(4).core.status().membership).toEqual(membershipOf([1, 2, 3, 4]));
    expect(group.at(4).state).toMatchObject({ index: 3, membership: membershipOf([1, 2, 3, 4]) });
  });

  it('step() does not take back acknowledged entries for a late snapshot', () => {
    const replica = new TestReplica(1, positionOf(0, 0, membershipOf([1, 2, 3])));
    replica.core.step(append(1, 2, entry(0, 0), [entry(1, 1), entry(2, 1), entry(3, 1, 'promised')], 1));
    replica.settle();
    expect(messages(replica.outbox, 'append-response').at(-1)).toMatchObject({ index: 3 });
    const position = positionOf(2, 1, membershipOf([1, 2, 3, 4]));
    replica.receive({ type: 'snapshot', from: 2, to: 1, term: 1, position });
    const { lastIndex, commit, applied, membership } = replica.core.status();
    expect([lastIndex, commit, applied, membership.voters]).toEqual([3, 2, 2, [1, 2, 3, 4]]);
    expect(replica.take().snapshot).toBe(null);
  });

  it('step() does follow a snapshot of a leader of the past, since its state was installed', () => {
    const replica = new TestReplica(1, positionOf(0, 0, membershipOf([1, 2, 3])));
    replica.core.step(append(5, 2, entry(0, 0), [], 0));
    replica.settle();
    const position = positionOf(7, 3, membershipOf([1, 2]));
    replica.receive({ type: 'snapshot', from: 3, to: 1, term: 4, position });
    expect(replica.core.status()).toMatchObject({ term: 5, leader: 2, applied: 7, commit: 7, lastIndex: 7 });
    expect(replica.take().snapshot).toEqual(position);
  });

  it('step() does drop what is meant for an earlier life of this disk (KAFKA-14077, KIP-853)', () => {
    // A wiped replica comes back under a new id: nothing for the old one may count for it.
    const replica = new TestReplica(9, positionOf(0, 0, membershipOf([9])));
    replica.core.step(append(5, 2, entry(0, 0), [entry(1, 5)], 1));
    expect(replica.core.status()).toMatchObject({ term: 0, lastIndex: 0 });
    expect(replica.core.hasReady()).toBe(false);
  });

  it('constructor does refuse a log that has lost what was committed (KAFKA-14077)', () => {
    const replica = new TestReplica(1, positionOf(0, 0, membershipOf([1, 2])));
    replica.core.step(append(1, 2, entry(0, 0), [entry(1, 1)], 0));
    replica.settle();
    const heartbeat = { type: 'heartbeat', from: 2, to: 1, term: 1, commit: 2, readSequence: 0 } as const;
    expect(() => replica.core.step(heartbeat)).toThrow('has lost some');
  });

  it('a removed leader of two does not leave the other one behind for ever (nebula#4472)', () => {
    const group = new TestGroup([1, 2]);
    group.elect(2);
    group.at(2).core.proposeMembership({ changes: [{ action: 'remove', replica: 2 }], context: nothing });
    group.stabilize();
    group.tick(2);
    group.stabilize();
    expect(group.at(1).core.status()).toMatchObject({ role: 'leader', membership: membershipOf([1]) });
    expect(group.propose(1, 'alone')).toBe('accepted');
    group.stabilize([1]);
    expect(textOf(group.at(1).applied.at(-1)!)).toBe('alone');
  });

  it('step() does judge forwarded membership changes like its own, and drops nonsense', () => {
    const group = new TestGroup([1, 2, 3]);
    group.elect(1);
    const change = (replica: number) => ({
      kind: 1 as const,
      data: encodeMembershipChange({ changes: [{ action: 'add-learner', replica }], context: nothing }),
    });
    group.at(2).core.propose([change(4), change(5), { kind: 1, data: Uint8Array.of(9, 9) }]);
    group.stabilize();
    // The second one was pending, the third is none.
    expect(group.at(1).core.status().membership).toEqual(membershipOf([1, 2, 3], [4]));
  });
});
