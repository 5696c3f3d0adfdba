/**
 * Changes of the group by its leader: learners, promotion, removal, transfer. Each is one entry of the log, at most one
 * at a time, and none that could cost the group its quorum. Thread: the Raft worker; used by `replica.ts`.
 *
 * A change is answered when an entry that was proposed after it is committed: whoever acknowledged that one also knows that
 * the change is. Before that, a member that is cut off would still elect by the old membership, also when those who are
 * needed for it were switched off because the answer had come.
 *
 * A leader does not remove itself: it hands over, and sends the caller to the next leader.
 */
import { type GroupStatus, PlacementError } from '../../core/ports/placement.ts';
import type { Consensus, ProgressStatus, ProposeMembershipResult } from '../consensus/consensus.ts';
import type { MemberChange, Membership, ReplicaId, Term } from '../consensus/types.ts';
import { encodeMemberContext } from '../placement/member-context.ts';
import type { PlacementState } from '../placement/placement-state.ts';
import type { Activity } from './activity.ts';
import type { NewMember, ReplicaOptions, Reply } from './replica-ports.ts';
import type { CoreStatus } from './status.ts';

export interface MembershipHost {
  readonly consensus: Consensus;
  readonly state: PlacementState;
  readonly options: ReplicaOptions;
  readonly activity: Activity;
  /** As of now. */
  core(): CoreStatus;
  status(): GroupStatus;
  /** Has the group remember where a member is now. */
  announce(member: NewMember): void;
  /** Proposes an entry without effect, in this term alone; `done` says whether it was committed. Not called after the term. */
  probe(done: (isCommitted: boolean) => void): void;
}

/** What an operation is about. */
interface Steps {
  /** Starts it, or says that it must wait for something (true: started). Throws what refuses it. */
  readonly start: () => boolean;
  readonly isDone: () => boolean;
}

/**
 * - `change`: of the membership, by the leader of the term in which it came.
 * - `transfer`: done when another leads.
 * - `elsewhere`: for another leader, to whom the caller is sent once there is one.
 */
type OperationKind = 'change' | 'transfer' | 'elsewhere';

interface Operation extends Steps {
  readonly kind: OperationKind;
  /** In which it was asked for. */
  readonly term: Term;
  readonly deadline: number;
  readonly reply: Reply<GroupStatus>;
  isStarted: boolean;
}

/** A membership that the leader of a term has in force. */
interface Confirmation {
  readonly term: Term;
  readonly membership: Membership;
}

const refused = (message: string): PlacementError => new PlacementError('MEMBERSHIP_REFUSED', message);

export class MembershipOperations {
  private readonly host: MembershipHost;
  private operations: Operation[] = [];
  /** Learners that asked to become voters by themselves. */
  private readonly joining = new Set<ReplicaId>();
  private confirmed: Confirmation | null = null;
  private confirming: Confirmation | null = null;
  /** Membership at the beginning of the term, or the last one that was confirmed. */
  private known: Confirmation | null = null;
  /** Ticks that this replica has led for. */
  private ledTicks = 0;
  private membershipSeen: Membership | null = null;
  /** All members that this life of the process has seen: ids are used once, so who is not there any more was removed. */
  private readonly everMembers = new Set<ReplicaId>();

  constructor(host: MembershipHost) {
    this.host = host;
  }

  /** Null on the leader; elsewhere the error that says who leads. */
  notLeader(): PlacementError | null {
    const { role, leader } = this.host.core();
    if (role === 'leader') return null;
    if (leader === 0) return new PlacementError('NO_LEADER', 'No replica leads the group');
    const address = this.host.state.members.get(leader)?.address ?? null;
    return new PlacementError('NOT_LEADER', `Only the leader can do this: replica ${leader} leads`, address);
  }

  addLearner(member: NewMember, deadline: number, reply: Reply<GroupStatus>): void {
    this.run(deadline, reply, {
      start: () => this.startAdding(member),
      isDone: () => this.isMember(member.replica),
    });
  }

  join(member: NewMember, deadline: number, reply: Reply<GroupStatus>): void {
    this.run(deadline, reply, {
      start: () => {
        if (!this.isVoter(member.replica) && member.staysLearner !== true) this.joining.add(member.replica);
        if (!this.isMember(member.replica)) return this.startAdding(member);
        if (!this.isKnownAs(member)) this.host.announce(member);
        return true;
      },
      isDone: () => this.isMember(member.replica) && this.isKnownAs(member),
    });
  }

  promote(replica: ReplicaId, deadline: number, reply: Reply<GroupStatus>): void {
    this.run(deadline, reply, {
      start: () => this.isVoter(replica) || this.startPromotion(replica),
      isDone: () => this.isVoter(replica),
    });
  }

  remove(replica: ReplicaId, deadline: number, reply: Reply<GroupStatus>): void {
    if (replica === this.host.core().replica) {
      this.run(deadline, reply, { start: () => this.startLeaving(), isDone: () => false }, 'elsewhere');
      return;
    }
    this.run(deadline, reply, {
      start: () => this.startRemoval(replica),
      isDone: () => !this.isMember(replica),
    });
  }

  transferLeadership(replica: ReplicaId, deadline: number, reply: Reply<GroupStatus>): void {
    this.run(
      deadline,
      reply,
      {
        start: () => {
          if (!this.isVoter(replica)) throw refused(`Replica ${replica} is not a voter`);
          this.host.consensus.transferLeadership(replica);
          return true;
        },
        isDone: () => this.host.core().leader === replica,
      },
      'transfer',
    );
  }

  /** Whether `handOver` found somebody. */
  isHandingOver = false;

  /** Begins to hand leadership to the follower that has most of the log, if there is one. */
  handOver(): void {
    this.isHandingOver = this.transferToBest();
  }

  private transferToBest(): boolean {
    const { role, replica, membership, progress } = this.host.core();
    if (role !== 'leader') return false;
    let best: { replica: ReplicaId; match: number } | null = null;
    for (const candidate of membership.voters) {
      const has = progress.get(candidate);
      if (candidate === replica || has?.state !== 'replicate' || !this.isActive(candidate)) continue;
      if (best === null || has.match > best.match) best = { replica: candidate, match: has.match };
    }
    if (best !== null) this.host.consensus.transferLeadership(best.replica);
    return best !== null;
  }

  /** Promotes learners that asked for it and have caught up; starts what had to wait; gives up what took too long. */
  tick(now: number): void {
    this.ledTicks = this.host.core().role === 'leader' ? this.ledTicks + 1 : 0;
    this.promoteJoining();
    for (const operation of [...this.operations]) {
      if (operation.deadline <= now) this.finish(operation, lateError(operation));
      // A transfer that was not taken up is given up by the core after a while.
      else if (!operation.isStarted || operation.kind === 'elsewhere') this.tryStart(operation);
    }
  }

  /** Answers what is done by now. */
  settle(): void {
    this.rememberMembers();
    this.confirmWhatIsNew();
    if (this.operations.length === 0) return;
    for (const operation of [...this.operations]) {
      const outcome = this.outcomeOf(operation);
      if (outcome !== null) this.finish(operation, outcome);
      else if (!operation.isStarted) this.tryStart(operation);
    }
  }

  /** Null while it is under way. */
  private outcomeOf({ kind, term, isStarted, isDone }: Operation): GroupStatus | PlacementError | null {
    const core = this.host.core();
    switch (kind) {
      case 'elsewhere':
        return core.leader === 0 ? null : this.notLeader();
      case 'transfer':
        return isStarted && isDone() ? this.host.status() : null;
      case 'change':
        if (core.role !== 'leader' || core.term !== term) {
          return new PlacementError('NO_LEADER', 'The leader changed; the change may still be applied');
        }
        return isStarted && isDone() && this.isConfirmed() ? this.host.status() : null;
    }
  }

  /** Whether a majority is known to know that the membership of now is committed. Sees to it that it soon is. */
  private isConfirmed(): boolean {
    const { term, membership } = this.host.core();
    // The joint configuration is left by the next entry.
    if (membership.outgoing.length > 0) return false;
    if (isSame(this.confirmed, term, membership)) return true;
    if (!isSame(this.confirming, term, membership)) {
      const begun: Confirmation = { term, membership };
      this.confirming = begun;
      this.host.probe((isCommitted) => {
        if (isCommitted) this.confirmed = begun;
        else if (this.confirming === begun) this.confirming = null;
      });
    }
    return false;
  }

  private rememberMembers(): void {
    const { membership } = this.host.core();
    if (membership === this.membershipSeen) return;
    this.membershipSeen = membership;
    const { voters, outgoing, learners, learnersNext } = membership;
    for (const replica of [...voters, ...outgoing, ...learners, ...learnersNext]) this.everMembers.add(replica);
  }

  /** Changes that nobody waits for: a learner that the leader itself has promoted. */
  private confirmWhatIsNew(): void {
    const { role, term, membership } = this.host.core();
    if (role !== 'leader') return;
    if (this.known?.term !== term) this.known = { term, membership };
    if (this.known.membership !== membership && this.isConfirmed()) this.known = { term, membership };
  }

  failAll(error: PlacementError): void {
    for (const operation of [...this.operations]) this.finish(operation, error);
  }

  private run(deadline: number, reply: Reply<GroupStatus>, steps: Steps, kind: OperationKind = 'change'): void {
    const error = this.notLeader();
    if (error !== null) {
      reply(error);
      return;
    }
    const { term } = this.host.core();
    const operation: Operation = { ...steps, kind, term, deadline, reply, isStarted: false };
    this.operations.push(operation);
    this.tryStart(operation);
  }

  private tryStart(operation: Operation): void {
    try {
      operation.isStarted = operation.start();
    } catch (error) {
      if (!(error instanceof PlacementError)) throw error;
      this.finish(operation, error);
    }
  }

  private finish(operation: Operation, outcome: GroupStatus | PlacementError): void {
    this.operations = this.operations.filter((other) => other !== operation);
    operation.reply(outcome);
  }

  private startAdding(member: NewMember): boolean {
    if (this.isMember(member.replica)) return true;
    const { learners } = this.host.core().membership;
    const rival = this.livesBefore(member).find((replica) => this.isActive(replica));
    if (rival !== undefined) throw refused(`Replica ${rival} is in service under the same name or address`);
    // A learner of the same place is an earlier life of the same node: its disk is gone.
    const forgotten = this.livesBefore(member).filter((replica) => learners.includes(replica));
    return this.propose(
      [
        { action: 'add-learner', replica: member.replica },
        ...forgotten.map((replica): MemberChange => ({ action: 'remove', replica })),
      ],
      encodeMemberContext([member]),
    );
  }

  private startPromotion(replica: ReplicaId): boolean {
    const { replica: self, membership, progress, lastIndex } = this.host.core();
    if (!membership.learners.includes(replica)) throw refused(`Replica ${replica} is not a learner`);
    const match = progress.get(replica)?.match ?? 0;
    const behind = lastIndex - match;
    if (!this.isActive(replica)) throw refused(`Replica ${replica} cannot be reached`);
    if (behind > this.host.options.promotionLagMax) {
      throw refused(`Replica ${replica} has not caught up: it is ${behind} entries behind`);
    }
    const known = this.host.state.members.get(replica);
    const replaced = known === undefined ? [] : this.livesBefore({ ...known, replica });
    const gone = replaced.filter(
      (other) => other !== self && membership.voters.includes(other) && progress.get(other)?.isActive !== true,
    );
    const voters = [...membership.voters.filter((voter) => !gone.includes(voter)), replica];
    if (!this.hasQuorum(voters)) return false;
    return this.propose([
      { action: 'add-voter', replica },
      ...gone.map((other): MemberChange => ({ action: 'remove', replica: other })),
    ]);
  }

  private startRemoval(replica: ReplicaId): boolean {
    const { membership } = this.host.core();
    if (!this.isMember(replica)) {
      // Asked again by somebody whose answer got lost.
      if (this.everMembers.has(replica)) return true;
      throw refused(`Replica ${replica} is not a member`);
    }
    if (membership.voters.includes(replica)) {
      const voters = membership.voters.filter((voter) => voter !== replica);
      if (voters.length === 0) throw refused('The last voter cannot be removed');
      if (!this.hasQuorum(voters)) return false;
    }
    this.joining.delete(replica);
    return this.propose([{ action: 'remove', replica }]);
  }

  /** Hands over, so that another leader can remove this one. */
  private startLeaving(): boolean {
    const { replica, role, membership } = this.host.core();
    if (role !== 'leader') return true;
    const others = membership.voters.filter((voter) => voter !== replica);
    if (membership.voters.includes(replica) && others.length === 0) throw refused('The last voter cannot be removed');
    return this.hasQuorum(others) && this.transferToBest();
  }

  /** False: not yet known, ask again. Throws when the group would have no quorum right after the change. */
  private hasQuorum(voters: readonly ReplicaId[]): boolean {
    const active = voters.filter((voter) => this.isActive(voter));
    const needed = Math.floor(voters.length / 2) + 1;
    if (active.length >= needed) return true;
    // A follower hears of the leader alone: as a new leader it does not know yet who is there.
    if (this.ledTicks < this.host.options.electionTicks) return false;
    throw refused(`The group would lose its quorum: ${active.length} of ${voters.length} voters can be reached`);
  }

  private propose(changes: readonly MemberChange[], context = encodeMemberContext([])): boolean {
    const result = this.host.consensus.proposeMembership({ changes, context });
    if (result === 'accepted') return true;
    if (isTransient(result)) return false;
    if (result === 'no-leader') throw new PlacementError('NO_LEADER', 'This replica leads no longer');
    throw refused(`The change of the membership is not allowed: ${result}`);
  }

  private promoteJoining(): void {
    const { role, membership, progress } = this.host.core();
    if (role !== 'leader') {
      this.joining.clear();
      return;
    }
    for (const replica of this.joining) {
      if (membership.voters.includes(replica)) this.joining.delete(replica);
      else if (membership.learners.includes(replica) && this.isCaughtUp(replica, progress.get(replica))) {
        this.tryPromotion(replica);
      }
    }
  }

  private tryPromotion(replica: ReplicaId): void {
    try {
      this.startPromotion(replica);
    } catch (error) {
      if (!(error instanceof PlacementError)) throw error; // Refused for now: the next tick asks again.
    }
  }

  private isActive(replica: ReplicaId): boolean {
    return replica === this.host.core().replica || this.host.activity.isActive(replica);
  }

  private isCaughtUp(replica: ReplicaId, progress: ProgressStatus | undefined): boolean {
    if (progress?.state !== 'replicate' || !this.isActive(replica)) return false;
    return this.host.core().lastIndex - progress.match <= this.host.options.promotionLagMax;
  }

  /** Members of the same name or address under another id. */
  private livesBefore({ replica, name, address }: NewMember): ReplicaId[] {
    return [...this.host.state.members]
      .filter(([id]) => id !== replica)
      .filter(([, other]) => (name !== '' && other.name === name) || (address !== '' && other.address === address))
      .map(([id]) => id);
  }

  private isKnownAs({ replica, name, address }: NewMember): boolean {
    const known = this.host.state.members.get(replica);
    return known !== undefined && known.name === name && known.address === address;
  }

  private isVoter(replica: ReplicaId): boolean {
    return this.host.core().membership.voters.includes(replica);
  }

  private isMember(replica: ReplicaId): boolean {
    const { voters, outgoing, learners, learnersNext } = this.host.core().membership;
    return [voters, outgoing, learners, learnersNext].some((members) => members.includes(replica));
  }
}

function lateError({ isStarted, kind }: Operation): PlacementError {
  if (kind === 'elsewhere') return refused('No other voter could take the leadership over in time');
  return isStarted
    ? new PlacementError('TIMED_OUT', 'The change was not finished in time; it may still be')
    : refused('Another change of the membership is under way, or it is not known yet who can be reached');
}

function isSame(confirmation: Confirmation | null, term: Term, membership: Membership): boolean {
  return confirmation?.term === term && confirmation.membership === membership;
}

function isTransient(result: ProposeMembershipResult): boolean {
  return result === 'pending' || result === 'joint' || result === 'not-ready' || result === 'transferring';
}
