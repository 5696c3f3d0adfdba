/**
 * Changes of the group by its leader: learners, promotion, removal, transfer. Each is one entry of the log, at most one
 * at a time, and none that could cost the group its quorum. Thread: the Raft worker; used by `replica.ts`.
 */
import { type GroupStatus, PlacementError } from '../../core/ports/placement.ts';
import type { Consensus, ProgressStatus, ProposeMembershipResult } from '../consensus/consensus.ts';
import type { MemberChange, ReplicaId, Term } from '../consensus/types.ts';
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
}

interface Operation {
  /** The term in which it must be done; null for any. */
  readonly term: Term | null;
  readonly deadline: number;
  readonly reply: Reply<GroupStatus>;
  /** Starts it, or says that it must wait for something (true: started). Throws what refuses it. */
  readonly start: () => boolean;
  readonly isDone: () => boolean;
  isStarted: boolean;
}

const refused = (message: string): PlacementError => new PlacementError('MEMBERSHIP_REFUSED', message);

export class MembershipOperations {
  private readonly host: MembershipHost;
  private operations: Operation[] = [];
  /** Learners that asked to become voters by themselves. */
  private readonly joining = new Set<ReplicaId>();

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
        if (!this.isVoter(member.replica)) this.joining.add(member.replica);
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
      false,
    );
  }

  /** Whether `handOver` found somebody. */
  isHandingOver = false;

  /** Begins to hand leadership to the follower that has most of the log, if there is one. */
  handOver(): void {
    const { role, replica, membership, progress } = this.host.core();
    if (role !== 'leader') return;
    let best: { replica: ReplicaId; match: number } | null = null;
    for (const candidate of membership.voters) {
      const has = progress.get(candidate);
      if (candidate === replica || has?.state !== 'replicate' || !this.isActive(candidate)) continue;
      if (best === null || has.match > best.match) best = { replica: candidate, match: has.match };
    }
    this.isHandingOver = best !== null;
    if (best !== null) this.host.consensus.transferLeadership(best.replica);
  }

  /** Promotes learners that asked for it and have caught up; starts what had to wait; gives up what took too long. */
  tick(now: number): void {
    this.promoteJoining();
    for (const operation of [...this.operations]) {
      if (operation.deadline <= now) this.finish(operation, lateError(operation));
      else if (!operation.isStarted) this.tryStart(operation);
    }
  }

  /** Answers what is done by now. */
  settle(): void {
    if (this.operations.length === 0) return;
    const { role, term } = this.host.core();
    for (const operation of [...this.operations]) {
      const isOver = operation.term !== null && (operation.term !== term || role !== 'leader');
      if (operation.isStarted && operation.isDone()) this.finish(operation, this.host.status());
      else if (isOver) {
        this.finish(operation, new PlacementError('NO_LEADER', 'The leader changed; the change may still be applied'));
      }
    }
  }

  failAll(error: PlacementError): void {
    for (const operation of [...this.operations]) this.finish(operation, error);
  }

  private run(
    deadline: number,
    reply: Reply<GroupStatus>,
    steps: Pick<Operation, 'start' | 'isDone'>,
    endsWithTerm = true,
  ): void {
    const error = this.notLeader();
    if (error !== null) {
      reply(error);
      return;
    }
    const term = endsWithTerm ? this.host.core().term : null;
    const operation: Operation = { ...steps, term, deadline, reply, isStarted: false };
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
    const { membership, progress, lastIndex } = this.host.core();
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
      (other) => membership.voters.includes(other) && progress.get(other)?.isActive !== true,
    );
    const voters = [...membership.voters.filter((voter) => !gone.includes(voter)), replica];
    this.assertQuorum(voters);
    return this.propose([
      { action: 'add-voter', replica },
      ...gone.map((other): MemberChange => ({ action: 'remove', replica: other })),
    ]);
  }

  private startRemoval(replica: ReplicaId): boolean {
    const { membership } = this.host.core();
    if (!this.isMember(replica)) throw refused(`Replica ${replica} is not a member`);
    if (membership.voters.includes(replica)) {
      const voters = membership.voters.filter((voter) => voter !== replica);
      if (voters.length === 0) throw refused('The last voter cannot be removed');
      this.assertQuorum(voters);
    }
    this.joining.delete(replica);
    return this.propose([{ action: 'remove', replica }]);
  }

  /** Throws when the group would have no quorum right after the change. */
  private assertQuorum(voters: readonly ReplicaId[]): void {
    const active = voters.filter((voter) => this.isActive(voter));
    const needed = Math.floor(voters.length / 2) + 1;
    if (active.length >= needed) return;
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

function lateError({ isStarted }: Operation): PlacementError {
  return isStarted
    ? new PlacementError('TIMED_OUT', 'The change was not finished in time; it may still be')
    : refused('Another change of the membership is under way');
}

function isTransient(result: ProposeMembershipResult): boolean {
  return result === 'pending' || result === 'joint' || result === 'not-ready';
}
