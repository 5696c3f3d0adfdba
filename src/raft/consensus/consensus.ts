/**
 * The consensus core of one replica: Raft as a pure state machine. Raft worker; driven by `replica.ts`, and by the simulator.
 *
 * Inputs are `tick` (time), `step` (messages), the proposals and reads of this replica, and what the driver reports back
 * (`persisted`, `applied`). The only output is `ready`. Same state and same inputs give the same outputs: there is no clock, no
 * I/O and no random number but the injected ones. No call waits and none is re-entrant.
 */
import { assert } from '../../std/assert.ts';
import { Core, type Leadership } from './core.ts';
import {
  campaign,
  campaignForTransfer,
  campaignWithoutVote,
  handleVoteRequest,
  handleVoteResponse,
  isVoteWelcome,
  ownVotePersisted,
  refuseVote,
} from './election.ts';
import { entryBytes } from './entry-bytes.ts';
import { handleAppend, handleHeartbeat, handleSnapshot, takeSnapshot } from './following.ts';
import { parseMembershipChange } from './membership-codec.ts';
import type {
  ConsensusOptions,
  ConsensusStatus,
  ProgressStatus,
  Proposal,
  ProposeMembershipResult,
  ProposeResult,
} from './options.ts';
import { advanceReads, beginRead } from './reads.ts';
import { applyChange, leaveJointIfDue, proposeChange } from './reconfiguration.ts';
import {
  advanceCommit,
  appendProposals,
  checkQuorum,
  handleAppendResponse,
  handleHeartbeatResponse,
  hasRoom,
  releaseUncommitted,
  replicate,
  sendHeartbeat,
  untoldCommit,
} from './replication.ts';
import { becomeFollower, loseLeader } from './roles.ts';
import { beginTransfer, isHandingOver, tickTransfer } from './transfer.ts';
import {
  entryKinds,
  type HardState,
  type LogIndex,
  type Membership,
  type MembershipChange,
  type Message,
  type ProposeRequest,
  type Ready,
  type ReplicaId,
  type Role,
  type Term,
} from './types.ts';

export type {
  ConsensusOptions,
  ConsensusStatus,
  ProgressStatus,
  Proposal,
  ProposeMembershipResult,
  ProposeResult,
} from './options.ts';

/** Election time-outs that a replica without a vote leaves to those that have one. */
const outsiderPatience = 4;

/** Those that carry a term and are looked at only if it is this replica's. */
type TermMessage = Exclude<Message, { readonly type: 'propose' | 'read-index' }>;

export class Consensus {
  readonly #core: Core;
  /** As of the last round that was handed out. */
  #handedTerm: Term;
  #handedVote: ReplicaId;
  #handedCommit: LogIndex;

  /** Throws `AssertionError` when the log has lost entries that were committed or applied. */
  constructor(options: ConsensusOptions) {
    assert(options.electionTicks > options.heartbeatTicks, 'A leader is heard of more than once per election time-out');
    const { hardState } = options.log.initialState();
    this.#core = new Core(options);
    this.#handedTerm = hardState.term;
    this.#handedVote = hardState.vote;
    this.#handedCommit = hardState.commit;
  }

  /** Time passes by one unit. */
  tick(): void {
    const core = this.#core;
    core.electionElapsed++;
    if (core.leadership !== null) this.#tickLeader(core.leadership);
    else if (core.electionElapsed >= core.electionTimeout) this.#missLeader();
  }

  /**
   * Takes in a message of another replica. One that is addressed to another replica, or to an earlier life, is dropped. A
   * snapshot is stepped in the same turn in which its state was installed, and only then; its position is always taken over.
   */
  step(message: Message): void {
    const core = this.#core;
    if (message.to !== core.replica || message.from === core.replica) return;
    if (message.type === 'propose') this.#takeForwarded(message);
    else if (message.type === 'read-index') {
      if (core.leadership !== null) beginRead(core, core.leadership, message.from, message.context);
    } else if (this.#settleTerm(message)) this.#dispatch(message);
  }

  /** Tries to be elected now; nothing happens on a leader, or on a replica that is no voter. */
  campaign(): void {
    campaign(this.#core);
  }

  /**
   * Has the group commit commands; on a follower they are forwarded and may get lost. All are taken or none. Membership changes
   * go through `proposeMembership`, on a follower also through here, encoded: the leader then judges, and drops what it refuses.
   */
  propose(entries: readonly Proposal[]): ProposeResult {
    const core = this.#core;
    const { leadership } = core;
    if (leadership === null) return this.#forward(entries);
    assert(
      entries.every((entry) => entry.kind === entryKinds.command),
      'A leader changes its membership through proposeMembership',
    );
    if (isHandingOver(core, leadership)) return 'transferring';
    if (!hasRoom(core, leadership, entries)) return 'overloaded';
    if (entries.length > 0) appendProposals(core, leadership, entries);
    return 'accepted';
  }

  /** Begins a change of the membership; leader only. Accepted means appended: it is in force when it is applied. */
  proposeMembership(change: MembershipChange): ProposeMembershipResult {
    const { leadership } = this.#core;
    return leadership === null ? 'no-leader' : proposeChange(this.#core, leadership, change);
  }

  /**
   * The driver applies a membership entry: call it for each, in order, before `applied` of its index. Null when the state
   * machine refused it. Answers the membership that is now in force.
   */
  applyMembership(change: MembershipChange | null): Membership {
    return applyChange(this.#core, change);
  }

  /**
   * Asks for the index up to which the state has to be applied for a linearizable read; it comes as a `ReadState` with the
   * same context. False when no leader is known. May get lost, for example when the leader changes: ask again, with a new context.
   */
  readIndex(context: number): boolean {
    const core = this.#core;
    if (core.leadership !== null) beginRead(core, core.leadership, core.replica, context);
    else if (core.leader === 0) return false;
    else core.send({ type: 'read-index', from: core.replica, to: core.leader, term: 0, context });
    return true;
  }

  /**
   * A commit index that followers are told with the next entries, if there are any; 0 when all of them know, or wait for it and
   * are told at once. The driver has it told when nothing else came for a moment: `tellCommit`. Leader only.
   */
  untoldCommit(): LogIndex {
    const { leadership } = this.#core;
    return leadership === null ? 0 : untoldCommit(this.#core, leadership);
  }

  /** Whoever does not know yet that everything up to `index` is committed is told in the next round. */
  tellCommit(index: LogIndex): void {
    const { leadership } = this.#core;
    if (leadership !== null && index <= this.#core.log.commit) leadership.announcedCommit = index;
  }

  /** Hands leadership over, or asks the leader to. Given up after an election time-out; watch `status`. */
  transferLeadership(target: ReplicaId): void {
    const core = this.#core;
    if (core.leadership !== null) beginTransfer(core, core.leadership, target);
    else if (core.leader !== 0) {
      core.send({ type: 'transfer', from: core.replica, to: core.leader, term: core.term, target });
    }
  }

  /**
   * Messages to it were lost, as far as the transport can tell. A follower whose leader it is does not wait for the whole
   * election time-out: with pre-vote it disturbs nobody when it is wrong.
   */
  reportUnreachable(replica: ReplicaId): void {
    const core = this.#core;
    const progress = core.leadership?.progress.get(replica);
    if (progress?.state === 'replicate') progress.becomeProbe();
    if (core.role === 'follower' && core.leader === replica) loseLeader(core);
  }

  /** The stream of a snapshot has ended. To be called once for every snapshot message. */
  reportSnapshot(replica: ReplicaId, hasArrived: boolean): void {
    const progress = this.#core.leadership?.progress.get(replica);
    if (progress?.state === 'snapshot') progress.snapshotEnded(hasArrived);
  }

  hasReady(): boolean {
    const core = this.#core;
    this.#advanceLeader();
    return (
      core.messages.length > 0 ||
      core.messagesAfterPersist.length > 0 ||
      core.readStates.length > 0 ||
      core.log.hasUnwritten() ||
      core.log.hasCommitted(core.applicable) ||
      this.#isHardStateNew()
    );
  }

  /** Hands out one round of work; see `Ready` for what is to be done in which order. */
  ready(): Ready {
    const core = this.#core;
    this.#advanceLeader();
    const isVoteNew = core.term !== this.#handedTerm || core.vote !== this.#handedVote;
    const hardState = this.#takeHardState();
    const { number, entries, snapshot } = core.log.beginWrite(core.role === 'candidate' ? core.term : 0);
    const committed = core.log.takeCommitted(core.applicable);
    if (core.leadership !== null) releaseUncommitted(core, core.leadership, committed);
    const { messages, messagesAfterPersist, readStates } = core;
    core.messages = [];
    core.messagesAfterPersist = [];
    core.readStates = [];
    const mustSync = isVoteNew || entries.length > 0 || snapshot !== null;
    return { number, hardState, entries, snapshot, mustSync, messages, messagesAfterPersist, committed, readStates };
  }

  /** Round `number` and all before it are durable. */
  persisted(number: number): void {
    const core = this.#core;
    const candidateTerm = core.log.finishWrite(number);
    if (candidateTerm === core.term) ownVotePersisted(core);
    if (core.leadership !== null) advanceCommit(core, core.leadership);
  }

  /** Committed entries up to `index` are applied. */
  applied(index: LogIndex): void {
    const core = this.#core;
    core.log.appliedTo(index);
    if (core.leadership !== null) leaveJointIfDue(core, core.leadership);
  }

  status(): ConsensusStatus {
    return new Status(this.#core);
  }

  #tickLeader(leadership: Leadership): void {
    const core = this.#core;
    if (core.electionElapsed >= core.options.electionTicks) {
      core.electionElapsed = 0;
      checkQuorum(core, leadership);
      if (core.leadership === null) return;
    }
    core.heartbeatElapsed++;
    if (core.heartbeatElapsed >= core.options.heartbeatTicks) {
      core.heartbeatElapsed = 0;
      for (const progress of leadership.progress.values()) sendHeartbeat(core, leadership, progress);
    }
    tickTransfer(core, leadership);
  }

  /** Nothing was heard of a leader for a whole election time-out. */
  #missLeader(): void {
    const core = this.#core;
    if (core.isVoter) {
      core.electionElapsed = 0;
      campaign(core);
      return;
    }
    core.leader = 0;
    if (core.electionElapsed < core.electionTimeout * outsiderPatience) return;
    core.electionElapsed = 0;
    campaignWithoutVote(core);
  }

  /** Everything a leader has to send since the last round. */
  #advanceLeader(): void {
    const core = this.#core;
    if (core.leadership === null) return;
    advanceReads(core, core.leadership);
    replicate(core, core.leadership);
  }

  /** Brings the terms of message and replica together. False: the message is of no use any more. */
  #settleTerm(message: TermMessage): boolean {
    if (message.term > this.#core.term) return this.#meetNewerTerm(message);
    if (message.term < this.#core.term) {
      this.#answerOlderTerm(message);
      return false;
    }
    return true;
  }

  #meetNewerTerm(message: TermMessage): boolean {
    const core = this.#core;
    if (message.type === 'vote') {
      if (!isVoteWelcome(core, message)) return false;
      if (message.preVote) return true;
    }
    // A granted pre-vote has the term that was asked for, which nobody has entered yet.
    if (message.type === 'vote-response' && message.preVote && message.isGranted) return true;
    becomeFollower(core, message.term, isFromLeader(message) ? message.from : 0);
    return true;
  }

  #answerOlderTerm(message: TermMessage): void {
    const core = this.#core;
    // Without an answer, replicas of different terms could wait for each other for ever: with pre-vote and check-quorum
    // nobody campaigns its way through, so the one that is behind has to be told.
    if (message.type === 'snapshot') takeSnapshot(core, message.position);
    if (isFromLeader(message)) core.acknowledge(message.from, 0);
    else if (message.type === 'vote' && message.preVote) refuseVote(core, message);
  }

  #dispatch(message: TermMessage): void {
    const core = this.#core;
    const { leadership } = core;
    switch (message.type) {
      case 'append':
        this.#hearLeader(message.from);
        handleAppend(core, message);
        break;
      case 'heartbeat':
        this.#hearLeader(message.from);
        handleHeartbeat(core, message);
        break;
      case 'snapshot':
        this.#hearLeader(message.from);
        handleSnapshot(core, message);
        break;
      case 'append-response':
        if (leadership !== null) handleAppendResponse(core, leadership, message);
        break;
      case 'heartbeat-response':
        if (leadership !== null) handleHeartbeatResponse(core, leadership, message);
        break;
      case 'vote':
        handleVoteRequest(core, message);
        break;
      case 'vote-response':
        handleVoteResponse(core, message);
        break;
      case 'timeout-now':
        campaignForTransfer(core);
        break;
      case 'transfer':
        if (leadership !== null) beginTransfer(core, leadership, message.target);
        break;
      case 'read-index-response':
        core.readStates.push({ context: message.context, index: message.index });
        break;
    }
  }

  /** A message that only the leader of this term sends. */
  #hearLeader(leader: ReplicaId): void {
    const core = this.#core;
    assert(core.role !== 'leader', 'A term has one leader');
    if (core.role !== 'follower') becomeFollower(core, core.term, leader);
    // It was lost, and the time-out is a short one.
    else if (core.leader !== leader) core.randomizeElectionTimeout();
    core.leader = leader;
    core.electionElapsed = 0;
  }

  #forward(entries: readonly Proposal[]): ProposeResult {
    const core = this.#core;
    if (core.leader === 0) return 'no-leader';
    for (let from = 0; from < entries.length; ) {
      let bytes = entryBytes(entries[from]!);
      let to = from + 1;
      while (to < entries.length && bytes + entryBytes(entries[to]!) <= core.options.messageBytesMax) {
        bytes += entryBytes(entries[to]!);
        to++;
      }
      const part = to - from === entries.length ? entries : entries.slice(from, to);
      core.send({ type: 'propose', from: core.replica, to: core.leader, term: 0, entries: part });
      from = to;
    }
    return 'accepted';
  }

  /** Not sent on if this is no longer the leader: two that take each other for it would send for ever. */
  #takeForwarded(message: ProposeRequest): void {
    const core = this.#core;
    const { leadership } = core;
    if (leadership === null || isHandingOver(core, leadership)) return;
    const commands = message.entries.filter((entry) => entry.kind === entryKinds.command);
    if (commands.length > 0 && hasRoom(core, leadership, commands)) {
      const last = appendProposals(core, leadership, commands);
      leadership.progress.get(message.from)?.wants(last - commands.length + 1, last);
    }
    if (commands.length === message.entries.length) return;
    for (const entry of message.entries) {
      const change = entry.kind === entryKinds.membership ? parseMembershipChange(entry.data) : null;
      if (change !== null) proposeChange(core, leadership, change);
    }
  }

  #isHardStateNew(): boolean {
    const core = this.#core;
    return core.term !== this.#handedTerm || core.vote !== this.#handedVote || core.log.commit !== this.#handedCommit;
  }

  #takeHardState(): HardState | null {
    if (!this.#isHardStateNew()) return null;
    const core = this.#core;
    this.#handedTerm = core.term;
    this.#handedVote = core.vote;
    this.#handedCommit = core.log.commit;
    return { term: core.term, vote: core.vote, commit: core.log.commit };
  }
}

/** One look at the core. A class, because the driver takes one in every round and a literal with a getter is slow to make. */
class Status implements ConsensusStatus {
  readonly replica: ReplicaId;
  readonly role: Role;
  readonly isLearner: boolean;
  readonly term: Term;
  readonly leader: ReplicaId;
  readonly commit: LogIndex;
  readonly applied: LogIndex;
  readonly lastIndex: LogIndex;
  readonly membership: Membership;
  readonly #core: Core;

  constructor(core: Core) {
    this.replica = core.replica;
    this.role = core.role;
    this.isLearner = core.membership.learners.includes(core.replica);
    this.term = core.term;
    this.leader = core.leader;
    this.commit = core.log.commit;
    this.applied = core.log.applied;
    this.lastIndex = core.log.lastIndex;
    this.membership = core.membership;
    this.#core = core;
  }

  /** Made when somebody looks. */
  get progress(): ReadonlyMap<ReplicaId, ProgressStatus> {
    const { leadership, log, replica: self } = this.#core;
    const progress = new Map<ReplicaId, ProgressStatus>();
    if (leadership === null) return progress;
    progress.set(self, { match: log.durable, next: log.lastIndex + 1, state: 'replicate', isActive: true });
    for (const [replica, follower] of leadership.progress) progress.set(replica, follower.status());
    return progress;
  }
}

function isFromLeader(message: TermMessage): boolean {
  return message.type === 'append' || message.type === 'heartbeat' || message.type === 'snapshot';
}
