/**
 * One replica of the placement group: ties the consensus core, the log, the state machine and the transport together.
 * Thread: the Raft worker (`placement-node.ts` calls it), or the simulator.
 *
 * It has no timers, promises or clock of its own. Whatever happens only leaves work behind and asks the host, by
 * `wake()`, to call `process` soon: so everything that arrived in one turn of the host shares one write to the log, one
 * sync and one round of reads. While a sync is under way the next rounds go on; what they promise to others leaves when
 * they are durable, in order (see `Ready`).
 *
 * Any error of log or store, and any assertion that fails, ends the life of the replica: it neither votes nor serves
 * afterwards, answers every call with `CORRUPTED`, and says why in its status.
 */

import {
  type Command,
  type CommandResult,
  type GroupStatus,
  type LeaseId,
  PlacementError,
  type Query,
  type QueryResult,
  type RequestId,
  type Watcher,
  type WatchRequest,
} from '../../core/ports/placement.ts';
import { toError } from '../../std/errors.ts';
import { Consensus } from '../consensus/consensus.ts';
import { decodeMembershipChange } from '../consensus/membership-codec.ts';
import {
  type Entry,
  entryKinds,
  type HardState,
  type LogIndex,
  type Message,
  type Ready,
  type ReplicaId,
  type SnapshotRequest,
  type Term,
} from '../consensus/types.ts';
import { decodeProposal, encodeProposal, type GroupCommand } from '../placement/command-codec.ts';
import { SnapshotError } from '../placement/errors.ts';
import { LeaseClock } from '../placement/lease-clock.ts';
import type { SnapshotSink, SnapshotSource } from '../placement/placement-state.ts';
import type { Done } from '../ports.ts';
import { Activity } from './activity.ts';
import { readerOf } from './core-log.ts';
import { DiskGuard } from './disk-guard.ts';
import { LeaderWatch } from './leader-watch.ts';
import { Maintenance } from './maintenance.ts';
import { MembershipOperations } from './membership-operations.ts';
import { PendingProposals } from './pending-proposals.ts';
import { PendingReads } from './pending-reads.ts';
import { PersistQueue } from './persist-queue.ts';
import { coreLimits, type NewMember, type ReplicaOptions, type ReplicaPorts, type Reply } from './replica-ports.ts';
import { type CoreStatus, groupStatusOf } from './status.ts';

/** Rounds of the core in one turn of the host. */
const ROUNDS_MAX = 16;
/** How long the word of a member's new place may wait to be handed to the log. */
const ANNOUNCEMENT_MS = 5_000;
/** Free space is asked for once in so many ticks. */
const DISK_TICKS = 10;
/** Sequences and contexts of a life begin at a random multiple, so that an answer meant for an earlier life fits nobody. */
const LIFE_SPAN = 2 ** 22;
const LIVES = 2 ** 30;

const noEffect: Command = { type: 'transaction', compares: [], success: [], failure: [] };

/** A state that is being received. */
export interface SnapshotReceiver {
  /** `done`: ready for more. Throws for a damaged chunk, which is the sender's fault or the network's. */
  write(chunk: Uint8Array, done: Done): void;
  /** Installs what was received, unless the log has overtaken it, and goes on from there. */
  finish(done: Done): void;
  abort(): void;
}

export class Replica {
  private readonly ports: ReplicaPorts;
  private readonly options: ReplicaOptions;
  private readonly consensus: Consensus;
  private readonly proposals: PendingProposals;
  private readonly reads: PendingReads;
  private readonly persisting: PersistQueue;
  private readonly membership: MembershipOperations;
  private readonly leases: LeaseClock;
  private readonly maintenance: Maintenance;
  private readonly disk: DiskGuard;
  private readonly activity: Activity;
  private readonly leaderWatch: LeaderWatch;
  private core: CoreStatus;
  private hardState: HardState;
  private nextSequence: number;
  private ticks = 0;
  private isWoken = false;
  private isProcessing = false;
  /** What the followers are told when nothing else was to be told them for a moment; 0: the host was not asked for that. */
  private commitToTell: LogIndex = 0;
  /** A received state is being made the present one: nothing else may touch state and core. */
  private isInstalling = false;
  private isStopped = false;
  private why: Error | null = null;

  constructor(ports: ReplicaPorts, options: ReplicaOptions) {
    const { log, state } = ports;
    this.ports = ports;
    this.options = options;
    this.consensus = new Consensus({
      ...coreLimits,
      ...options.limits,
      replica: options.replica,
      log: readerOf(log, state),
      applied: state.appliedIndex,
      membership: state.membership,
      electionTicks: options.electionTicks,
      heartbeatTicks: options.heartbeatTicks,
      random: (below) => ports.random(below),
    });
    this.core = this.consensus.status();
    this.hardState = log.initialState().hardState;
    const firstNumber = 1 + ports.random(LIVES) * LIFE_SPAN;
    this.nextSequence = firstNumber;
    this.proposals = new PendingProposals(options.pendingMax);
    this.reads = new PendingReads(options.pendingMax, options.electionTicks, firstNumber);
    this.persisting = new PersistQueue((number, messages) => this.becameDurable(number, messages));
    this.leases = new LeaseClock(state);
    this.disk = new DiskGuard(options.diskReserveBytes);
    this.disk.measure(ports.freeBytes());
    this.activity = new Activity(options.electionTicks);
    this.leaderWatch = new LeaderWatch(options.electionTicks, this.activity);
    const core = (): CoreStatus => this.core;
    const guarded = (work: () => void): void => this.guarded(work);
    this.maintenance = new Maintenance(
      { log, state, activity: this.activity, now: () => ports.now(), core, guarded, fail: (fault) => this.fail(fault) },
      options,
    );
    this.membership = new MembershipOperations({
      consensus: this.consensus,
      state,
      options,
      activity: this.activity,
      core,
      announce: (member) => this.announce(member),
      probe: (done) => this.probe(done),
      status: () => this.status(),
    });
    this.wakeUp();
  }

  /** Why this replica has left; null while it is healthy. */
  get fault(): Error | null {
    return this.why;
  }

  get isLeader(): boolean {
    return this.core.role === 'leader' && this.why === null;
  }

  /** Leads a group that has no other member, learners included. */
  get isAlone(): boolean {
    const { voters, outgoing, learners } = this.core.membership;
    return this.isLeader && voters.length === 1 && outgoing.length === 0 && learners.length === 0;
  }

  /** Leads, and another voter that can take over is being asked to. */
  get isHandingOver(): boolean {
    return this.isLeader && this.membership.isHandingOver;
  }

  // --- what the host drives ---

  /** Once per tick of the host: elections, heartbeats, time-outs, leases, disk space. */
  tick(): void {
    this.guarded(() => {
      if (this.isInstalling) return;
      const { now } = this.ports;
      this.ticks++;
      this.consensus.tick();
      this.activity.tick();
      this.leaderWatch.tick(this.core);
      if (this.ticks % DISK_TICKS === 0) this.watchDisk();
      if (this.leaderWatch.isTimeToAnswer) this.answerForsaken();
      const hasLeader = this.core.leader !== 0;
      this.proposals.expire(now(), hasLeader);
      this.reads.sweep(this.ticks, now(), hasLeader);
      this.membership.tick(now());
      if (this.core.role === 'leader') this.proposeWhatIsDue();
      this.wakeUp();
    });
  }

  /** Messages of other replicas. The work that they cause is done by `process`. */
  receive(messages: readonly Message[]): void {
    this.guarded(() => {
      if (this.isInstalling) return; // Messages may get lost; these do.
      for (const message of messages) {
        this.activity.heard(message.from);
        if (this.isTaken(message)) this.consensus.step(message);
      }
      this.wakeUp();
    });
  }

  /** Does what waits. */
  process(): void {
    this.isWoken = false;
    this.isProcessing = true;
    this.guarded(() => {
      if (this.isInstalling) return;
      this.refresh();
      this.handOverCalls();
      for (let round = 0; round < ROUNDS_MAX && this.consensus.hasReady(); round++) this.handle(this.consensus.ready());
      this.reads.run(this.ports.state.appliedIndex);
      this.refresh();
      this.membership.settle();
      this.maintenance.run();
      this.campaignWhenAlone();
      if (this.consensus.hasReady()) this.wakeUp();
      this.tellCommitLater();
    });
    this.isProcessing = false;
  }

  /**
   * Followers hear of a commit with the next entries, which saves two messages per write. This is for the case that no more
   * entries come.
   */
  tellCommit(): void {
    const index = this.commitToTell;
    this.commitToTell = 0;
    this.guarded(() => {
      this.consensus.tellCommit(index);
      if (this.isInstalling) return;
      if (this.consensus.hasReady()) this.wakeUp();
      this.tellCommitLater();
    });
  }

  private tellCommitLater(): void {
    if (this.commitToTell !== 0) return;
    this.commitToTell = this.consensus.untoldCommit();
    if (this.commitToTell !== 0) this.ports.wakeLater();
  }

  /** A peer cannot be reached at the moment. */
  reportUnreachable(replica: ReplicaId): void {
    this.guarded(() => this.consensus.reportUnreachable(replica));
  }

  /** Something that this replica stands on is broken, as its host found out. */
  reportFault(fault: Error): void {
    this.fail(fault);
  }

  /**
   * Begins to hand leadership to the best follower, if this is the leader of others; `isHandingOver` tells when that is
   * over.
   */
  handOver(): void {
    this.guarded(() => {
      this.membership.handOver();
      this.wakeUp();
    });
  }

  /**
   * Answers everybody with `STOPPED` and takes nothing more. Log and store stay open: they are closed by whoever opened
   * them.
   */
  stop(): void {
    if (this.isStopped) return;
    this.isStopped = true;
    this.answerAll(new PlacementError('STOPPED', 'The replica stops'));
  }

  // --- calls ---

  /** Replicates a command. `deadline` is a time of `now()`. */
  propose(command: Command, requestId: RequestId, deadline: number, reply: Reply<CommandResult>): void {
    const refusal = this.refusalOf(this.proposals.isFull) ?? this.disk.refusalOf(command);
    if (refusal !== null) {
      reply(refusal);
      return;
    }
    this.addProposal(command, requestId, deadline, reply);
    this.wakeUp();
  }

  /** Answers a query; a serializable one at once. */
  read(query: Query, deadline: number, reply: Reply<QueryResult>): void {
    if (query.consistency === 'linearizable') {
      this.whenCurrent(deadline, reply, () => this.query(query));
      return;
    }
    let outcome: QueryResult | PlacementError | null = this.refusalOf(false);
    if (outcome === null) {
      this.guarded(() => {
        outcome = this.query(query);
      });
    }
    reply(outcome ?? this.goneError());
  }

  /** Reports changes until it is cancelled or ended by the state machine or the end of this replica. */
  watch(request: WatchRequest, watcher: Watcher): { cancel(): void } {
    if (this.isStopped || this.why !== null) {
      watcher.onEnd({ code: 'STOPPED', compactedRevision: 0 });
      return { cancel: () => undefined };
    }
    return this.ports.state.watch(request, watcher);
  }

  /** Extends a lease. Confirmed by a quorum first: a leader that was deposed must not promise anything. */
  keepAlive(lease: LeaseId, deadline: number, reply: Reply<CommandResult>): void {
    this.whenLeading(deadline, reply, () => this.leases.keepAlive(lease, this.ports.now()));
  }

  /** Extends the service of a registered node. */
  heartbeat(node: string, epoch: number, deadline: number, reply: Reply<CommandResult>): void {
    this.whenLeading(deadline, reply, () => this.leases.heartbeat(node, epoch, this.ports.now()));
  }

  status(): GroupStatus {
    const { log, state } = this.ports;
    return groupStatusOf({
      replica: this.options.replica,
      core: this.core,
      log,
      state,
      stateBytes: this.ports.stateBytes(),
      activity: this.activity,
      fault: this.why,
      isStopped: this.isStopped,
    });
  }

  addLearner(member: NewMember, deadline: number, reply: Reply<GroupStatus>): void {
    this.changeMembership(reply, () => this.membership.addLearner(member, deadline, reply));
  }

  /** As `addLearner`, and the leader promotes it when it has caught up, unless it is to stay a learner. Harmless when repeated. */
  join(member: NewMember, deadline: number, reply: Reply<GroupStatus>): void {
    this.changeMembership(reply, () => this.membership.join(member, deadline, reply));
  }

  promote(replica: ReplicaId, deadline: number, reply: Reply<GroupStatus>): void {
    this.changeMembership(reply, () => this.membership.promote(replica, deadline, reply));
  }

  remove(replica: ReplicaId, deadline: number, reply: Reply<GroupStatus>): void {
    this.changeMembership(reply, () => this.membership.remove(replica, deadline, reply));
  }

  transferLeadership(replica: ReplicaId, deadline: number, reply: Reply<GroupStatus>): void {
    this.changeMembership(reply, () => this.membership.transferLeadership(replica, deadline, reply));
  }

  // --- snapshots ---

  /** The state as it is on disk, for a follower or a backup. */
  openSnapshot(): SnapshotSource {
    return this.ports.state.openSnapshot();
  }

  /** A leader begins to send its state. */
  receiveSnapshot(message: SnapshotRequest): SnapshotReceiver {
    const sink = this.ports.state.beginInstall(message.position);
    return {
      write: (chunk, done) =>
        sink.write(chunk, (error) => {
          this.failUnlessReceived(error);
          done?.(error);
        }),
      finish: (done) => this.maintenance.whenIdle(() => this.install(message, sink, done)),
      abort: () => sink.abort(),
    };
  }

  private install(message: SnapshotRequest, sink: SnapshotSink, done: Done): void {
    if (message.position.index <= this.ports.state.appliedIndex) {
      // The leader does not know yet: without an answer it would send the same state for ever.
      sink.abort();
      this.guarded(() => {
        this.consensus.step(message);
        this.wakeUp();
      });
      done(this.why);
      return;
    }
    const isLate = this.why !== null || this.isStopped || message.position.index <= this.consensus.status().commit;
    if (isLate || this.isInstalling) {
      sink.abort();
      done(new Error(isLate ? 'Cannot install the state: it is not needed' : 'Cannot install the state: busy'));
      return;
    }
    this.isInstalling = true;
    sink.finish((error) => {
      this.isInstalling = false;
      if (error !== null) {
        // The present state is as it was.
        this.failUnlessReceived(error);
        this.guarded(() => this.wakeUp());
        done(error);
        return;
      }
      this.guarded(() => {
        this.proposals.failInFlight(new PlacementError('NO_LEADER', 'This replica had fallen behind'));
        this.maintenance.reset();
        this.consensus.step({ ...message, position: this.ports.state.position });
        this.wakeUp();
      });
      done(this.why);
    });
  }

  /** What was received may be wrong, the sender tries again; a store that failed takes nothing more in this life. */
  private failUnlessReceived(error: Error | null): void {
    if (error !== null && !(error instanceof SnapshotError)) this.fail(error);
  }

  // --- rounds of the core ---

  private handle(ready: Ready): void {
    this.hardState = ready.hardState ?? this.hardState;
    if (ready.snapshot !== null) this.ports.log.reset(ready.snapshot, this.hardState);
    this.send(ready.messages);
    this.persist(ready);
    this.apply(ready.committed);
    for (const { context, index } of ready.readStates) this.reads.confirm(context, index);
  }

  private persist(ready: Ready): void {
    const isDurable = this.persisting.add(ready.number, ready.messagesAfterPersist);
    const { entries, snapshot, mustSync } = ready;
    // A reset has written the hard state with it.
    const hardState = snapshot === null ? ready.hardState : null;
    if (hardState === null && entries.length === 0) {
      isDurable();
      return;
    }
    const mayBlock = mustSync && this.isNobodyWaiting(ready);
    if (mayBlock) this.ports.transport.flush?.();
    this.ports.log.append({ hardState, entries, mustSync, mayBlock }, (error) => {
      if (error !== null) this.fail(error);
      else this.guarded(isDurable);
    });
  }

  /** The round has no answer for a caller of this replica, which would be late if the disk came first. */
  private isNobodyWaiting({ committed, readStates }: Ready): boolean {
    return (committed.length === 0 || this.proposals.isEmpty) && readStates.length === 0;
  }

  private becameDurable(number: number, messages: readonly Message[]): void {
    this.send(messages);
    if (messages.length > 0) this.ports.transport.flush?.();
    this.consensus.persisted(number);
    // Inside of `process` its next round sees to it.
    if (!this.isProcessing) this.wakeUp();
  }

  private send(messages: readonly Message[]): void {
    if (messages.length === 0) return;
    const hasSnapshots = messages.some(({ type }) => type === 'snapshot');
    this.ports.transport.send(hasSnapshots ? messages.filter(({ type }) => type !== 'snapshot') : messages);
    for (const message of messages) if (message.type === 'snapshot') this.sendSnapshot(message);
  }

  private sendSnapshot(message: SnapshotRequest): void {
    const { to } = message;
    this.maintenance.snapshotBegins(to, message.position.index);
    this.ports.transport.sendSnapshot(message, (hasArrived) => {
      this.maintenance.snapshotEnds(to);
      this.guarded(() => {
        this.consensus.reportSnapshot(to, hasArrived);
        this.wakeUp();
      });
    });
  }

  private apply(entries: readonly Entry[]): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    for (const entry of entries) this.applyOne(entry);
    this.proposals.reachedTerm(last.term);
    this.consensus.applied(last.index);
  }

  private applyOne(entry: Entry): void {
    const { state } = this.ports;
    if (entry.kind === entryKinds.membership) {
      const membership = this.consensus.applyMembership(decodeMembershipChange(entry.data));
      state.applyMembership(entry, membership);
      return;
    }
    const applied = state.apply(entry);
    if (applied !== null && applied.origin === this.options.replica) {
      this.proposals.applied(applied.sequence, applied.result);
    }
  }

  // --- calls that wait ---

  private handOverCalls(): void {
    const { role, term } = this.core;
    if (this.proposals.hasWaiting) {
      this.proposals.handOver(term, role === 'leader', (entries) => this.consensus.propose(entries) === 'accepted');
    }
    this.reads.issue(this.ticks, (context) => this.consensus.readIndex(context));
  }

  private announce(member: NewMember): void {
    const command = { type: 'bootstrap', clusterId: this.ports.state.clusterId, member } as const;
    this.addProposal(command, null, this.ports.now() + ANNOUNCEMENT_MS, null);
  }

  private probe(done: (isCommitted: boolean) => void): void {
    const reply: Reply<CommandResult> = (outcome) => done(!(outcome instanceof PlacementError));
    this.addProposal(noEffect, null, Number.POSITIVE_INFINITY, reply, this.core.term);
    this.wakeUp();
  }

  private addProposal(
    command: GroupCommand,
    requestId: RequestId,
    deadline: number,
    reply: Reply<CommandResult> | null,
    leaderTerm: Term | null = null,
  ): void {
    const sequence = this.nextSequence++;
    const data = encodeProposal({ origin: this.options.replica, sequence, requestId, command });
    this.proposals.add({ sequence, data, deadline, reply, leaderTerm });
  }

  /** Runs `work` once this replica has applied everything that was committed when it was asked. */
  private whenCurrent<T>(deadline: number, reply: Reply<T>, work: () => T | PlacementError): void {
    const refusal = this.refusalOf(this.reads.isFull);
    if (refusal !== null) {
      reply(refusal);
      return;
    }
    this.reads.add({ deadline, run: () => reply(work()), fail: reply });
    this.wakeUp();
  }

  private whenLeading<T>(deadline: number, reply: Reply<T>, work: () => T): void {
    const notLeader = this.membership.notLeader();
    if (notLeader !== null && this.refusalOf(false) === null) {
      reply(notLeader);
      return;
    }
    this.whenCurrent<T>(deadline, reply, () => {
      this.refresh();
      return this.membership.notLeader() ?? work();
    });
  }

  private query(query: Query): QueryResult {
    const result = this.ports.state.query(query);
    return this.core.role === 'leader' ? this.leases.withRemaining(result, this.ports.now()) : result;
  }

  private changeMembership(reply: Reply<GroupStatus>, work: () => void): void {
    const refusal = this.refusalOf(false);
    if (refusal !== null) {
      reply(refusal);
      return;
    }
    this.guarded(work);
    this.wakeUp();
  }

  private refusalOf(isFull: boolean): PlacementError | null {
    if (this.why !== null || this.isStopped) return this.goneError();
    return isFull ? new PlacementError('OVERLOADED', 'Too many calls wait for an answer') : null;
  }

  /** Another replica may know a leader: whoever waits here is better off there. A repeated write is known by its id. */
  private answerForsaken(): void {
    const error = new PlacementError(
      'NO_LEADER',
      'This replica knows of no leader; a write under way may still happen',
    );
    this.proposals.failAll(error);
    this.reads.failAll(error);
    this.membership.failAll(error);
  }

  private goneError(): PlacementError {
    return this.why === null
      ? new PlacementError('STOPPED', 'The replica has stopped')
      : new PlacementError('CORRUPTED', `The replica has left service: ${this.why.message}`);
  }

  // --- duties ---

  /** Looks at the core; whoever needs to know of a change is told. */
  private refresh(): void {
    const before = this.core;
    const core = this.consensus.status();
    this.core = core;
    const hasLed = before.role === 'leader';
    if (core.leader !== 0 && core.leader !== before.leader) this.leaderWatch.found();
    if (core.role === 'leader' && (!hasLed || before.term !== core.term)) this.leases.becomeLeader(this.ports.now());
    else if (core.role !== 'leader' && hasLed) this.leases.resign();
    const isSame =
      core.role === before.role &&
      core.leader === before.leader &&
      core.term === before.term &&
      core.membership === before.membership;
    if (!isSame) this.ports.onChange();
  }

  /** A group of one need not wait for a time-out to know that nobody else leads. */
  private campaignWhenAlone(): void {
    const { role, membership, applied, commit } = this.core;
    if (role !== 'follower' || this.ticks > 0 || applied < commit) return;
    const isAlone = membership.voters.length === 1 && membership.outgoing.length === 0;
    if (isAlone && membership.voters[0] === this.options.replica) this.consensus.campaign();
  }

  private proposeWhatIsDue(): void {
    const deadline = this.ports.now() + 1;
    const { term } = this.core;
    for (const command of this.leases.due(this.ports.now())) this.addProposal(command, null, deadline, null, term);
    const compaction = this.ports.state.compactionDue();
    if (compaction !== null) this.addProposal(compaction, null, deadline, null, term);
  }

  private watchDisk(): void {
    this.disk.measure(this.ports.freeBytes());
    // The followers may have room.
    if (this.disk.isLow && this.core.role === 'leader') this.membership.handOver();
  }

  /** On a full disk nothing is taken that would have to be written; heartbeats and votes are. */
  private isTaken(message: Message): boolean {
    if (!this.disk.isLow) return true;
    if (message.type === 'propose') {
      return message.entries.every(({ kind, data }) => {
        if (kind !== entryKinds.command) return false;
        const { command } = decodeProposal(data);
        return command.type !== 'bootstrap' && this.disk.refusalOf(command) === null;
      });
    }
    const isWritten = message.type === 'append' && message.entries.length > 0;
    return !isWritten || !this.disk.isCritical;
  }

  private wakeUp(): void {
    if (this.isWoken || this.isStopped || this.why !== null) return;
    this.isWoken = true;
    this.ports.wake();
  }

  private guarded(work: () => void): void {
    if (this.isStopped || this.why !== null) return;
    try {
      work();
    } catch (error) {
      this.fail(toError(error));
    }
  }

  private fail(fault: Error): void {
    if (this.isStopped || this.why !== null) return;
    this.why = fault;
    this.answerAll(this.goneError());
    this.ports.onFault(fault);
  }

  private answerAll(error: PlacementError): void {
    this.persisting.clear();
    this.proposals.failAll(error);
    this.reads.failAll(error);
    this.membership.failAll(error);
    this.ports.state.endWatches('STOPPED');
  }
}
