/**
 * The operator of the simulated group: grows and shrinks it, replaces hosts that lost or damaged their storage, and hands
 * leadership over. One change at a time, asked again until it is done, like a person with a terminal.
 */
import { PlacementError } from '../../src/core/ports/placement.ts';
import type { ReplicaId } from '../../src/raft/consensus/types.ts';
import { encodeMemberContext } from '../../src/raft/placement/member-context.ts';
import type { Replica } from '../../src/raft/replica/replica.ts';
import type { NewMember } from '../../src/raft/replica/replica-ports.ts';
import type { StateMachineChecker } from './checkers/state-machines.ts';
import { coreOf } from './core-of.ts';
import type { Host } from './host.ts';
import type { SimulatedNetwork } from './network.ts';
import type { FaultKind, Profile } from './profile.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export interface OperatorWorld {
  readonly scheduler: Scheduler;
  readonly hosts: readonly Host[];
  readonly profile: Profile;
  readonly states: StateMachineChecker;
  readonly network: SimulatedNetwork;
}

type Reply = (outcome: unknown) => void;
type Request = (replica: Replica, deadline: number, reply: Reply) => void;

interface Task {
  readonly kind: FaultKind;
  readonly host: Host;
  /** Whether there is nothing left to do, by what the leader says. */
  isDone(members: ReadonlyMap<ReplicaId, 'voter' | 'learner'>): boolean;
  readonly request: Request;
  onDone(): void;
  /** A write of a leader that had applied the change was answered. */
  isConfirmed?: boolean;
}

const retryMs = 40;
const deadlineMs = 400;

/**
 * A write after a change: whoever acknowledges it also knows that the change is committed. Before that, a member that is
 * cut off would go on counting by the old membership, also when those who are needed for it were switched off.
 */
const confirm: Request = (replica, deadline, reply) =>
  replica.propose({ type: 'lease-revoke', lease: Number.MAX_SAFE_INTEGER }, null, deadline, reply);

export class Operator {
  readonly counts = new Map<FaultKind, number>();
  readonly #world: OperatorWorld;
  readonly #random: Random;
  #task: Task | null = null;
  #isHealing = false;

  constructor(world: OperatorWorld, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  get isIdle(): boolean {
    return this.#task === null;
  }

  describe(): string {
    return this.#task === null
      ? 'the operator is idle'
      : `the operator is at ${this.#task.kind} of host ${this.#task.host.number}`;
  }

  start(): void {
    const kinds: readonly (readonly [FaultKind, number, () => Task | null])[] = [
      ['grow', 150, () => this.#grow()],
      ['shrink', 250, () => this.#shrink()],
      ['replace', 200, () => this.#replaceSome()],
      ['swap', 120, () => this.#swap()],
      ['transfer', 150, () => this.#transfer()],
    ];
    for (const [kind, everyMs, make] of kinds) {
      const intensity = this.#world.profile.faults[kind];
      if (intensity > 0) this.#loop(this.#random.fork(kind), everyMs / intensity, make);
    }
    this.#repairLoop();
  }

  /** From now on only repairs. */
  heal(): void {
    this.#isHealing = true;
  }

  #loop(random: Random, everyMs: number, make: () => Task | null): void {
    const run = (): void => {
      if (this.#isHealing) return;
      if (this.#task === null) this.#begin(make());
      this.#world.scheduler.after(random.around(everyMs * 1000), run);
    };
    this.#world.scheduler.after(random.around(everyMs * 1000), run);
  }

  /** Somebody always looks after hosts that have left service. */
  #repairLoop(): void {
    const run = (): void => {
      if (this.#task === null) {
        const lost = this.#world.hosts.find((host) => host.isMember && host.isLost);
        if (lost !== undefined) this.#begin(this.#replace(lost));
        else if (this.#isHealing) this.#retireRemoved();
      }
      this.#world.scheduler.after(60_000, run);
    };
    this.#world.scheduler.after(60_000, run);
  }

  /** Changes that were given up may have happened after all. */
  #retireRemoved(): void {
    const { hosts, states } = this.#world;
    const members = this.membersNow();
    if (members === null || !states.isMembershipSettled) return;
    for (const host of hosts) if (host.isMember && !members.has(host.replica)) host.retire(host.replica);
  }

  #hasDamaged(): boolean {
    return this.#world.hosts.some((host) => host.isMember && host.isDamaged);
  }

  /** The voters and learners as the present leader has them; null while nobody leads. */
  membersNow(): ReadonlyMap<ReplicaId, 'voter' | 'learner'> | null {
    const leader = this.leader();
    if (leader === null) return null;
    const { members } = leader.status();
    return new Map(members.map(({ replica, role }) => [Number(replica), role]));
  }

  /** The leader of the highest term. */
  leader(): Host | null {
    let best: Host | null = null;
    for (const host of this.#world.hosts) {
      if (host.isLeader && (best === null || host.status().term > best.status().term)) best = host;
    }
    return best;
  }

  #begin(task: Task | null): void {
    if (task === null) return;
    const { scheduler } = this.#world;
    this.#task = task;
    this.counts.set(task.kind, (this.counts.get(task.kind) ?? 0) + 1);
    scheduler.trace.add(scheduler.now, task.kind, task.host.number, task.host.replica);
    this.#try(task, 0);
  }

  #try(task: Task, attempts: number): void {
    const { scheduler } = this.#world;
    const again = (): void =>
      scheduler.after(this.#random.around(retryMs * 1000) + 1000, () => this.#try(task, attempts + 1));
    const members = this.membersNow();
    const isDone = members !== null && task.isDone(members);
    if (isDone && (task.kind === 'transfer' || task.isConfirmed === true)) {
      scheduler.trace.add(scheduler.now, `${task.kind} done`, task.host.number);
      task.onDone();
      this.#task = null;
      return;
    }
    // A transfer is a wish, and so is less of a group when a host is damaged; the rest has to come true.
    const isWish =
      task.kind === 'transfer' ? attempts > 2 : task.kind === 'shrink' && (this.#isHealing || this.#hasDamaged());
    if (isWish) {
      this.#task = null;
      return;
    }
    const leader = this.leader();
    let isOver = false;
    const finish: Reply = (outcome) => {
      if (isOver) return;
      isOver = true;
      connection?.close();
      const text =
        outcome instanceof PlacementError
          ? `${outcome.code} ${outcome.message}`
          : typeof outcome === 'string'
            ? outcome
            : 'ok';
      scheduler.trace.add(scheduler.now, `${task.kind} answered`, task.host.number, text);
      if (isDone && !(outcome instanceof PlacementError)) task.isConfirmed = true;
      again();
    };
    const connection = leader?.connect(() => finish(new PlacementError('STOPPED', 'disconnected'))) ?? null;
    if (connection === null) {
      again();
      return;
    }
    connection.run((replica, now) => (isDone ? confirm : task.request)(replica, now + deadlineMs, finish));
    scheduler.after((deadlineMs + 200) * 1000, () => finish(new PlacementError('TIMED_OUT', 'no answer')));
  }

  #memberOf(host: Host): NewMember {
    return { replica: host.replica, name: host.name, address: host.address };
  }

  #join(kind: FaultKind, host: Host): Task {
    const { replica } = host;
    const isInOneStep = this.#random.chance(0.5);
    return {
      kind,
      host,
      isDone: (members) => members.get(replica) === 'voter',
      request: (leader, deadline, reply) => {
        const member = this.#memberOf(host);
        const isLearner = this.membersNow()?.get(replica) === 'learner';
        if (isInOneStep) leader.join(member, deadline, reply);
        else if (isLearner) leader.promote(replica, deadline, reply);
        else leader.addLearner(member, deadline, reply);
      },
      onDone: () => undefined,
    };
  }

  #grow(): Task | null {
    const idle = this.#world.hosts.filter((host) => !host.isMember);
    if (idle.length === 0) return null;
    const host = this.#random.pick(idle);
    host.begin(this.#random.identifier());
    host.start();
    return this.#join('grow', host);
  }

  #shrink(): Task | null {
    const members = this.membersNow();
    const candidates = this.#world.hosts.filter((host) => host.isMember && members?.get(host.replica) === 'voter');
    if (members === null || candidates.length < 2 || this.#hasDamaged()) return null;
    const host = this.#random.pick(candidates);
    const { replica } = host;
    return {
      kind: 'shrink',
      host,
      isDone: (now) => !now.has(replica),
      request: (leader, deadline, reply) => leader.remove(replica, deadline, reply),
      // Sometimes the removed replica runs on for a while and must not disturb the rest.
      onDone: () => this.#world.scheduler.after(this.#random.around(100_000), () => host.retire(replica)),
    };
  }

  /** Whether the loss of what `host` has stored can be borne: the others are many, whole and at rest. */
  mayDamage(host: Host): boolean {
    const { hosts, states } = this.#world;
    const { membership } = states;
    if (this.#task !== null || this.#isHealing || !host.isMember || membership === null) return false;
    const { voters, outgoing, learners } = membership;
    const isAtRest = outgoing.length === 0 && learners.length === 0 && states.isMembershipSettled;
    if (!isAtRest || voters.length < 3 || !voters.includes(host.replica)) return false;
    const areOthersWhole = voters.every((voter) => hosts.some((each) => each.replica === voter && !each.isDamaged));
    return areOthersWhole && !hosts.some((each) => each.isMember && each.isDamaged);
  }

  #replaceSome(): Task | null {
    const candidates = this.#world.hosts.filter((host) => this.mayDamage(host));
    return candidates.length === 0 ? null : this.#replace(this.#random.pick(candidates));
  }

  /** A new disk under a new replica id. */
  #replace(host: Host): Task {
    const old = host.replica;
    host.begin(this.#random.identifier());
    host.start();
    const task = this.#join('replace', host);
    const { replica } = host;
    return {
      ...task,
      isDone: (members) => members.get(replica) === 'voter' && !members.has(old),
      request: (leader, deadline, reply) => {
        if (this.membersNow()?.get(replica) === 'voter') leader.remove(old, deadline, reply);
        else task.request(leader, deadline, reply);
      },
    };
  }

  /**
   * Exchanges up to two voters for new ones in one change through both majorities. The calls of the replica make smaller
   * steps, so this one goes to the core.
   */
  #swap(): Task | null {
    const { hosts, states } = this.#world;
    const { membership } = states;
    const idle = this.#random.shuffle(hosts.filter((host) => !host.isMember)).slice(0, this.#random.between(1, 2));
    if (membership === null || idle.length === 0 || !states.isMembershipSettled || this.#hasDamaged()) return null;
    const members = hosts.filter(({ replica }) => membership.voters.includes(replica));
    const leaving = this.#random.shuffle(members).slice(0, Math.min(idle.length, members.length - 1));
    if (leaving.length === 0) return null;
    for (const host of idle) {
      host.begin(this.#random.identifier());
      host.start();
    }
    const joining = idle.map((host) => this.#memberOf(host));
    const left = leaving.map((host) => ({ host, replica: host.replica }));
    const noContext = encodeMemberContext([]);
    return {
      kind: 'swap',
      host: idle[0],
      isDone: (now) =>
        joining.every(({ replica }) => now.get(replica) === 'voter') && left.every(({ replica }) => !now.has(replica)),
      request: (leader, deadline, reply) => {
        const now = this.membersNow();
        const missing = joining.find(({ replica }) => now?.has(replica) !== true);
        if (missing !== undefined) {
          leader.addLearner(missing, deadline, reply);
          return;
        }
        const result = coreOf(leader).proposeMembership({
          changes: [
            ...joining.map(({ replica }) => ({ action: 'add-voter', replica }) as const),
            ...left.map(({ replica }) => ({ action: 'remove', replica }) as const),
          ],
          context: noContext,
        });
        reply(result);
        if (result === 'accepted')
          this.#tearApart(
            left.map(({ host }) => host),
            idle,
          );
      },
      onDone: () => {
        for (const { host, replica } of left) {
          this.#world.scheduler.after(this.#random.around(100_000), () => host.retire(replica));
        }
      },
    };
  }

  /** While both majorities count: cuts those who leave off from those who come, and shares out the rest. */
  #tearApart(leaving: readonly Host[], coming: readonly Host[]): void {
    const { network, scheduler, profile, hosts } = this.#world;
    if (!this.#random.chance(0.5 * profile.faults.partition)) return;
    const isOld = new Map(
      hosts.map((host) => [host, !coming.includes(host) && (leaving.includes(host) || this.#random.chance(0.5))]),
    );
    scheduler.after(this.#random.around(4_000), () => {
      if (this.#isHealing) return;
      scheduler.trace.add(
        scheduler.now,
        'torn apart',
        ...hosts.filter((host) => isOld.get(host)).map(({ number }) => number),
      );
      for (const from of hosts) {
        for (const to of hosts) if (isOld.get(from) !== isOld.get(to)) network.cut(from.number, to.number);
      }
    });
    scheduler.after(4_000 + this.#random.around(400_000), () => {
      if (!this.#isHealing) network.heal();
    });
  }

  #transfer(): Task | null {
    const leader = this.leader();
    const members = this.membersNow();
    if (leader === null || members === null) return null;
    const voters = this.#world.hosts.filter((host) => host !== leader && members.get(host.replica) === 'voter');
    if (voters.length === 0) return null;
    const host = this.#random.pick(voters);
    return {
      kind: 'transfer',
      host,
      isDone: () => this.leader() === host,
      request: (replica, deadline, reply) => replica.transferLeadership(host.replica, deadline, reply),
      onDone: () => undefined,
    };
  }
}
