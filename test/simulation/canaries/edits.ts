/** Bugs that are planted in the source while it is loaded. A place that is not found any more fails the run. */
import type { Mutation } from '../mutation.ts';

const consensus = 'src/raft/consensus';
const replica = 'src/raft/replica';
const placement = 'src/raft/placement';

export const editCanaries: readonly Mutation[] = [
  {
    name: 'vote-given-twice',
    bug: 'a replica votes for whoever asks, also when it has voted in that term',
    seedsMax: 60,
    needs: ['partition', 'kill'],
    edits: [
      {
        file: `${consensus}/election.ts`,
        find: '(core.vote === 0 && core.leader === 0) ||',
        replace: 'core.leader === 0 ||',
      },
    ],
  },
  {
    name: 'promise-before-disk',
    bug: 'votes and acknowledgements leave before what they promise is durable',
    seedsMax: 20,
    needs: ['power-loss', 'slow-sync'],
    edits: [
      {
        file: `${replica}/replica.ts`,
        find: 'this.send(ready.messages);',
        replace: 'this.send([...ready.messages, ...ready.messagesAfterPersist]);',
      },
    ],
  },
  {
    name: 'leader-counts-itself-early',
    bug: 'the leader counts its own entries before they are durable on its disk',
    seedsMax: 60,
    needs: ['power-loss', 'slow-sync'],
    edits: [
      { file: `${consensus}/replication.ts`, find: 'return core.log.durable;', replace: 'return core.log.lastIndex;' },
    ],
  },
  {
    name: 'commit-from-old-term',
    bug: 'entries of earlier terms are committed by counting replicas (figure 8 of the Raft paper)',
    seedsMax: 60,
    needs: ['partition', 'kill', 'delay', 'loss', 'small-limits'],
    edits: [
      {
        file: `${consensus}/replication.ts`,
        find: 'if (index <= log.commit || index < leadership.firstIndex) return;',
        replace: 'if (index <= log.commit) return;',
      },
    ],
  },
  {
    name: 'election-restriction-removed',
    bug: 'a vote is given also to a candidate whose log is behind',
    seedsMax: 100,
    needs: ['partition', 'kill'],
    edits: [
      {
        file: `${consensus}/log-view.ts`,
        find: 'return lastTerm > this.#lastTerm || (lastTerm === this.#lastTerm && lastIndex >= this.#tail.last);',
        replace: 'return lastTerm >= 0 && lastIndex >= 0;',
      },
    ],
  },
  {
    name: 'joint-by-new-majority',
    bug: 'in a joint configuration only the new majority is counted',
    seedsMax: 1500,
    needs: ['swap', 'partition', 'kill', 'delay', 'slow-sync'],
    edits: [
      {
        file: `${consensus}/quorum.ts`,
        find: '  return Math.min(incoming, majorityValue(membership.outgoing, reachedBy));',
        replace: '  return incoming;',
      },
      {
        file: `${consensus}/quorum.ts`,
        find: "  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'open';",
        replace: '  return incoming;',
      },
    ],
  },
  {
    name: 'half-is-a-majority',
    bug: 'half of an even number of voters counts as a majority',
    seedsMax: 100,
    needs: ['grow', 'partition', 'shrink'],
    edits: [
      {
        file: `${consensus}/quorum.ts`,
        find: 'return scratch[Math.floor(count / 2)]!;',
        replace: 'return scratch[Math.floor((count - 1) / 2)]!;',
      },
      {
        file: `${consensus}/quorum.ts`,
        find: 'const needed = Math.floor(voters.length / 2) + 1;',
        replace: 'const needed = Math.ceil(voters.length / 2);',
      },
    ],
  },
  {
    name: 'commit-beyond-match',
    bug: 'heartbeats carry the commit index beyond what the follower is known to hold',
    seedsMax: 20,
    needs: ['partition', 'loss'],
    edits: [
      {
        file: `${consensus}/replication.ts`,
        find: 'const commit = Math.min(progress.match, core.log.commit);',
        replace: 'const { commit } = core.log;',
      },
    ],
  },
  {
    name: 'read-without-quorum',
    bug: 'a leader answers a read without proof that it still leads',
    seedsMax: 200,
    needs: ['partition', 'pause'],
    edits: [
      {
        file: `${consensus}/reads.ts`,
        find: '  else leadership.reads.begin(from, context, core.log.commit);',
        replace:
          '  else if (from === core.replica) core.readStates.push({ context, index: core.log.commit });\n' +
          '  else leadership.reads.begin(from, context, core.log.commit);',
      },
    ],
  },
  {
    name: 'read-from-new-leader-at-once',
    bug: 'a new leader answers reads before it has committed an entry of its own term',
    seedsMax: 100,
    needs: ['kill', 'partition'],
    edits: [
      {
        file: `${consensus}/reads.ts`,
        find: 'if (core.log.commit < leadership.firstIndex)',
        replace: 'if (leadership.firstIndex < 0)',
      },
    ],
  },
  {
    name: 'read-from-follower',
    bug: 'a follower answers linearizable reads from its own state',
    seedsMax: 10,
    needs: ['delay'],
    edits: [
      {
        file: `${replica}/replica.ts`,
        find: "if (query.consistency === 'linearizable') {",
        replace: "if (query.consistency === 'linearizable' && deadline < 0) {",
      },
    ],
  },
  {
    name: 'stale-heartbeat-confirms',
    bug: 'any answer to a heartbeat confirms every read that waits',
    seedsMax: 5000,
    needs: ['partition', 'duplicate', 'delay', 'clog', 'pause'],
    edits: [
      {
        file: `${consensus}/replication.ts`,
        find: 'if (response.readSequence > progress.readSequence) progress.readSequence = response.readSequence;',
        replace: 'progress.readSequence = leadership.reads.sequence;',
      },
    ],
  },
  {
    name: 'applied-before-commit',
    bug: 'the leader applies and acknowledges what is not committed yet',
    seedsMax: 20,
    needs: ['partition', 'kill'],
    edits: [
      {
        file: `${consensus}/core.ts`,
        find: "return this.role === 'leader' ? this.log.commit : ",
        replace: "return this.role === 'leader' ? this.log.lastIndex : ",
      },
    ],
  },
  {
    name: 'applied-out-of-order',
    bug: 'the entries of one round are applied backwards',
    seedsMax: 10,
    needs: [],
    edits: [
      {
        file: `${replica}/replica.ts`,
        find: 'for (const entry of entries) this.applyOne(entry);',
        replace: 'for (const entry of [...entries].reverse()) this.applyOne(entry);',
      },
    ],
  },
  {
    name: 'snapshot-without-membership',
    bug: 'a snapshot is installed and the membership stays as it was',
    seedsMax: 100,
    needs: ['compaction', 'grow', 'replace', 'kill'],
    edits: [
      { file: `${consensus}/following.ts`, find: '  enforceMembership(core, position.membership);\n', replace: '' },
    ],
  },
  {
    name: 'log-cut-before-state-is-durable',
    bug: 'the log is compacted up to what is applied instead of what is durable in the state',
    seedsMax: 200,
    needs: ['compaction', 'kill', 'power-loss'],
    edits: [
      {
        file: `${replica}/maintenance.ts`,
        find: 'const durable = state.durablePosition;',
        replace: 'const durable = state.position;',
      },
    ],
  },
  {
    name: 'request-id-ignored',
    bug: 'a repeated request is applied again',
    seedsMax: 20,
    needs: ['kill', 'loss'],
    edits: [
      {
        file: `${placement}/apply.ts`,
        find: 'const outcome = core.window.get(proposal);',
        replace: 'const outcome = core.revision < 0 ? core.window.get(proposal) : null;',
      },
    ],
  },
  {
    name: 'request-window-lost-at-restart',
    bug: 'the window of request ids is empty after a restart',
    seedsMax: 60,
    needs: ['kill', 'loss'],
    edits: [
      {
        file: `${placement}/state-core.ts`,
        find: 'window.add(change.request,',
        replace: 'if (first < 0) window.add(change.request,',
      },
    ],
  },
  {
    name: 'no-op-forgotten',
    bug: 'a request that changed nothing is not remembered, and takes effect when it comes again',
    seedsMax: 60,
    needs: ['duplicate', 'kill', 'loss'],
    edits: [
      {
        file: `${placement}/apply.ts`,
        find: 'core.window.newestIndex !== index && isRemembered(command)',
        replace: "core.window.newestIndex !== index && isRemembered(command) && result.type === 'lease'",
      },
    ],
  },
  {
    name: 'watch-skips-a-revision',
    bug: 'a watcher that reads on from the change log begins one revision too late',
    seedsMax: 20,
    needs: ['kill'],
    edits: [
      {
        file: `${placement}/watch-hub.ts`,
        find: 'source.changesFrom(each.seen + 1,',
        replace: 'source.changesFrom(each.seen + 2,',
      },
    ],
  },
  {
    name: 'keep-alive-forgotten',
    bug: 'a lease is said to be extended and keeps its old deadline',
    seedsMax: 100,
    needs: [],
    edits: [
      {
        file: `${placement}/lease-clock.ts`,
        find: "    timer.deadline = nowMs + timer.ttlMs;\n    return { type: 'lease',",
        replace: "    return { type: 'lease',",
      },
    ],
  },
];
