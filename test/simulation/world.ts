/**
 * One run of the simulation: a group of real replicas, clients, faults and checkers over one scheduler. First everything
 * that can go wrong does, for as many events as asked for; then all faults end and the group must come to rest in order.
 */
import type { ReplicaId } from '../../src/raft/consensus/types.ts';
import { ClientChecker, type ClientCounts } from './checkers/clients.ts';
import { ElectionChecker } from './checkers/elections.ts';
import { LeaseChecker } from './checkers/leases.ts';
import { LogChecker } from './checkers/logs.ts';
import { StateMachineChecker } from './checkers/state-machines.ts';
import { Client } from './client.ts';
import { forbidChance } from './determinism.ts';
import { Host, tickUs } from './host.ts';
import type { Mutation } from './mutation.ts';
import { Nemesis } from './nemesis.ts';
import { type NetworkCounts, SimulatedNetwork } from './network.ts';
import { OperationSource } from './operations.ts';
import { Operator } from './operator.ts';
import { drawProfile, type FaultKind, noLimits, type Profile, type ProfileLimits } from './profile.ts';
import { Random } from './random.ts';
import { Scheduler, Trace } from './scheduler.ts';
import { demand, firstViolation, forgetViolations, Violation } from './violation.ts';
import { WatchClient } from './watching.ts';

export interface RunOptions {
  readonly seed: number;
  /** Events before healing. */
  readonly steps: number;
  readonly limits?: ProfileLimits;
  readonly mutation?: Mutation | null;
  /** Prints the trace as it grows. */
  readonly print?: ((line: string) => void) | null;
}

export interface RunReport {
  readonly seed: number;
  readonly steps: number;
  readonly profile: Profile;
  readonly violation: Violation | null;
  /** Equal for equal seed, steps, limits and code. */
  readonly digest: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly lastEvents: readonly string[];
  readonly hosts: readonly string[];
  readonly clients: ClientCounts;
  readonly network: NetworkCounts;
  readonly elections: number;
  readonly entries: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
  readonly watchEvents: number;
  readonly snapshots: number;
  readonly leasesExtended: number;
  readonly leasesExpired: number;
}

const secondUs = 1_000_000;
/** After healing: a leader within that time, everything at rest within the other. */
const leaderWithinUs = 3 * secondUs;
const restWithinUs = 30 * secondUs;
/** Operations that each client must finish after healing. */
const operationsAfterHealing = 3;

export function simulate(options: RunOptions): RunReport {
  const restore = forbidChance();
  forgetViolations();
  try {
    return new World(options).run();
  } finally {
    restore();
  }
}

class World {
  readonly #options: RunOptions;
  readonly #profile: Profile;
  readonly #trace: Trace;
  readonly #scheduler: Scheduler;
  readonly #network: SimulatedNetwork;
  readonly #elections: ElectionChecker;
  readonly #logs: LogChecker;
  readonly #states: StateMachineChecker;
  readonly #checker: ClientChecker;
  readonly #leases: LeaseChecker;
  readonly #hosts: Host[];
  readonly #clients: Client[];
  readonly #watchers: WatchClient[];
  readonly #nemesis: Nemesis;
  readonly #operator: Operator;

  constructor(options: RunOptions) {
    const { seed, limits = noLimits, mutation = null, print = null } = options;
    const random = new Random(seed, 'run');
    const profile = drawProfile(seed, limits);
    this.#options = options;
    this.#profile = profile;
    this.#trace = new Trace({ kept: 80, print });
    const scheduler = new Scheduler(this.#trace);
    this.#scheduler = scheduler;
    this.#network = new SimulatedNetwork(scheduler, random.fork('network'));
    this.#logs = new LogChecker();
    this.#elections = new ElectionChecker((replica, term) => {
      this.#trace.add(scheduler.now, 'leads', replica, term);
      this.#logs.onLeader(replica, term);
    });
    this.#leases = new LeaseChecker(() => scheduler.now);
    this.#states = new StateMachineChecker(
      this.#logs,
      () => this.#elections.termMax,
      ({ command }, result) => {
        if (command.type !== 'bootstrap') this.#leases.onCommand(command, result);
      },
    );
    const { model } = this.#states;
    this.#checker = new ClientChecker(model);
    this.#hosts = Array.from(
      { length: profile.hosts },
      (_, i) =>
        new Host(
          i + 1,
          {
            scheduler,
            network: this.#network,
            profile,
            elections: this.#elections,
            logs: this.#logs,
            states: this.#states,
            mutation,
            hostOf: (replica) => this.#hostOf(replica),
          },
          random.fork(`host ${i + 1}`),
        ),
    );
    const hosts = this.#hosts;
    const source = new OperationSource(random.fork('operations'), profile);
    const clientWorld = { scheduler, profile, checker: this.#checker, leases: this.#leases, source, hosts };
    this.#clients = Array.from(
      { length: profile.clients },
      (_, i) => new Client(`client-${i + 1}`, clientWorld, random.fork(`client ${i + 1}`)),
    );
    this.#watchers = Array.from(
      { length: profile.watchers },
      (_, i) => new WatchClient(`watcher-${i + 1}`, { model, scheduler, hosts }, random.fork(`watcher ${i + 1}`)),
    );
    this.#operator = new Operator(
      { scheduler, hosts, profile, states: this.#states, network: this.#network },
      random.fork('operator'),
    );
    this.#nemesis = new Nemesis(
      {
        scheduler,
        network: this.#network,
        hosts,
        profile,
        membersNow: () => this.#members(),
        mayDamage: (host) => this.#operator.mayDamage(host),
      },
      random.fork('nemesis'),
    );
    this.#found(random.fork('identities'));
  }

  #hostOf(replica: ReplicaId): Host | undefined {
    return this.#hosts.find((host) => host.replica === replica);
  }

  #members(): Host[] {
    return this.#hosts.filter((host) => host.isMember);
  }

  #found(random: Random): void {
    const founders = this.#hosts.slice(0, this.#profile.founders);
    const members = founders.map(({ name, address }) => ({ replica: random.identifier(), name, address }));
    for (const [i, host] of founders.entries()) host.begin(members[i].replica, members);
  }

  run(): RunReport {
    try {
      this.#runPhases();
    } catch (error) {
      if (!(error instanceof Violation))
        void new Violation('crash', (error as Error).stack ?? String(error), { cause: error });
    }
    return this.#report(firstViolation());
  }

  #runPhases(): void {
    const { steps } = this.#options;
    const scheduler = this.#scheduler;
    for (const host of this.#members()) host.start();
    for (const client of this.#clients) client.start();
    for (const watcher of this.#watchers) watcher.start();
    this.#nemesis.start();
    this.#operator.start();
    let isForced = false;
    while (scheduler.steps < steps && this.#step()) {
      if (!isForced && scheduler.steps > steps / 2 && this.#faultCount() === 0) {
        isForced = true;
        this.#nemesis.force();
      }
    }
    this.#heal();
    this.#awaitRest();
    for (const client of this.#clients) client.giveUp();
    this.#checker.finish();
    this.#demandThatSomethingHappened();
  }

  #step(): boolean {
    const hasRun = this.#scheduler.step();
    const violation = firstViolation();
    if (violation !== null) throw violation;
    return hasRun;
  }

  #faultCount(): number {
    let count = 0;
    for (const each of this.#nemesis.counts.values()) count += each;
    for (const each of this.#operator.counts.values()) count += each;
    const { lost, duplicated, reordered, clogged } = this.#network.counts;
    return count + lost + duplicated + reordered + clogged;
  }

  #heal(): void {
    const scheduler = this.#scheduler;
    this.#trace.add(scheduler.now, 'all faults end');
    this.#nemesis.stop();
    this.#network.calm();
    this.#operator.heal();
    for (const host of this.#hosts) {
      host.storage.calm();
      host.resume();
      // What is damaged and was not read yet is found by starting again.
      if (host.isDamaged && host.isRunning) host.kill();
      host.start();
    }
    for (const client of this.#clients) client.isPatient = true;
  }

  /** Runs until `isSo`, which is looked at now and then. */
  #runUntil(what: string, withinUs: number, isSo: () => boolean): void {
    const scheduler = this.#scheduler;
    const deadline = scheduler.now + withinUs;
    let lookAt = scheduler.now;
    for (;;) {
      if (scheduler.now >= lookAt) {
        if (isSo()) return;
        lookAt = scheduler.now + tickUs;
      }
      demand(
        scheduler.now < deadline && this.#step(),
        'liveness',
        () => `${what} within ${withinUs / secondUs} s: ${this.#describe()}`,
      );
    }
  }

  #awaitRest(): void {
    this.#runUntil('A leader', leaderWithinUs, () => this.#operator.leader() !== null);
    const wanted = this.#clients.map((client) => client.finished + operationsAfterHealing);
    this.#runUntil('Each client is served', restWithinUs, () =>
      this.#clients.every((client, i) => client.finished >= (wanted[i] as number)),
    );
    for (const client of this.#clients) client.isStopped = true;
    this.#runUntil('All calls end', restWithinUs, () => this.#clients.every(({ isIdle }) => isIdle));
    this.#runUntil('The operator is done', restWithinUs, () => this.#isInOrder());
    this.#runUntil('All replicas converge', restWithinUs, () => this.#hasConverged());
    this.#runUntil('All watches catch up', restWithinUs, () => this.#watchers.every(({ missing }) => missing === 0));
  }

  /** Nobody is being added, removed or replaced, and every member serves. */
  #isInOrder(): boolean {
    if (!this.#operator.isIdle) return false;
    const members = this.#operator.membersNow();
    if (members === null) return false;
    return [...members.keys()].every((replica) => this.#hostOf(replica)?.isRunning === true);
  }

  #hasConverged(): boolean {
    const members = this.#operator.membersNow();
    if (members === null || !this.#isInOrder()) return false;
    const hosts = [...members.keys()].map((replica) => this.#hostOf(replica) as Host);
    const { frontier } = this.#states;
    const isEqual = hosts.every((host) => {
      const { appliedIndex, lastIndex, commitIndex } = host.status();
      return appliedIndex === frontier && lastIndex === frontier && commitIndex === frontier;
    });
    if (!isEqual) return false;
    for (const host of hosts) {
      const { state } = host;
      if (state !== null) this.#states.onDigest(host.replica, frontier, state.digest());
    }
    const { model } = this.#states;
    for (const { state, number } of hosts) {
      demand(
        state?.revision === model.revision,
        'convergence',
        () => `Host ${number} is at revision ${state?.revision}, the model at ${model.revision}`,
      );
    }
    return true;
  }

  #demandThatSomethingHappened(): void {
    const { writes, reads } = this.#checker.counts;
    const elections = this.#elections.electionCount;
    const faults = this.#faultCount();
    demand(
      writes > 0 && reads > 0 && elections > 0 && faults > 0,
      'nothing-happened',
      () => `${writes} writes, ${reads} reads, ${elections} elections, ${faults} faults`,
    );
  }

  #describe(): string {
    return [
      ...this.#hosts.filter(({ isMember }) => isMember).map((host) => host.describe()),
      ...this.#clients.filter(({ isIdle }) => !isIdle).map((client) => client.describe()),
      this.#operator.describe(),
    ].join('; ');
  }

  #report(violation: Violation | null): RunReport {
    const { seed, steps } = this.#options;
    return {
      seed,
      steps,
      profile: this.#profile,
      violation,
      digest: this.#trace.digest(),
      events: this.#scheduler.steps,
      simulatedMs: this.#scheduler.now / 1000,
      lastEvents: violation === null ? [] : this.#trace.last(),
      hosts: this.#hosts.filter(({ isMember }) => isMember).map((host) => host.describe()),
      clients: this.#checker.counts,
      network: this.#network.counts,
      elections: this.#elections.electionCount,
      entries: this.#states.frontier,
      faults: new Map([...this.#nemesis.counts, ...this.#operator.counts]),
      watchEvents: this.#watchers.reduce((sum, { eventCount }) => sum + eventCount, 0),
      snapshots: this.#hosts.reduce((sum, { snapshotsInstalled }) => sum + snapshotsInstalled, 0),
      leasesExtended: this.#leases.extended,
      leasesExpired: this.#leases.expired,
    };
  }
}
