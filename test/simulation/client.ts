/**
 * Clients of the simulated group: each does one operation after the other through any host, asks again elsewhere under the
 * same request id when it got no answer, and after a few attempts counts the operation as unknown.
 */
import {
  type CommandResult,
  type LeaseId,
  PlacementError,
  type PlacementErrorCode,
  type QueryResult,
} from '../../src/core/ports/placement.ts';
import type { Begun, ClientChecker } from './checkers/clients.ts';
import type { LeaseChecker } from './checkers/leases.ts';
import type { Host } from './host.ts';
import { textOf } from './model.ts';
import type { Call, Knowledge, OperationSource, ReadCall, WriteCall } from './operations.ts';
import type { Profile } from './profile.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** No connection, or it broke. */
export type Failure = PlacementErrorCode | 'UNREACHABLE' | 'DISCONNECTED' | 'NO_ANSWER';

export interface ClientWorld {
  readonly scheduler: Scheduler;
  readonly profile: Profile;
  readonly checker: ClientChecker;
  readonly leases: LeaseChecker;
  readonly source: OperationSource;
  readonly hosts: readonly Host[];
}

const attemptsMax = 6;
const deadlineMs = 600;
/** On the way to a host and back, mean. */
const hopUs = 200;

/** Errors after which the write has certainly not happened and will not. */
const harmless: ReadonlySet<Failure> = new Set<Failure>([
  'UNREACHABLE',
  'OVERLOADED',
  'DISK_FULL',
  'MEMBERSHIP_REFUSED',
]);

type Outcome = CommandResult | QueryResult | { readonly failure: Failure };

interface Running {
  readonly call: Call;
  readonly begun: Begun;
  readonly startedAt: number;
  attempts: number;
  /** Some attempt may have been carried out. */
  isUncertain: boolean;
}

export class Client {
  readonly name: string;
  /** Operations with an answer. */
  finished = 0;
  /** While healing is judged: attempts never end. */
  isPatient = false;
  isStopped = false;
  readonly #world: ClientWorld;
  readonly #random: Random;
  readonly #knowledge: Knowledge;
  #running: Running | null = null;

  constructor(name: string, world: ClientWorld, random: Random) {
    this.name = name;
    this.#world = world;
    this.#random = random;
    const keys = Array.from({ length: world.profile.keys }, (_, i) => `k${i}`);
    this.#knowledge = { keys, seen: new Map(), seenRevisions: new Map(), leases: [], nodes: new Map(), revision: 0 };
  }

  get isIdle(): boolean {
    return this.#running === null;
  }

  start(): void {
    const { scheduler, profile } = this.#world;
    scheduler.after(this.#random.around(profile.thinkUs), () => this.#next());
  }

  describe(): string {
    const running = this.#running;
    return running === null ? `${this.name} idle` : `${this.name} in ${running.call.name}, attempt ${running.attempts}`;
  }

  #next(): void {
    if (this.isStopped) return;
    const { checker, scheduler, source } = this.#world;
    const call = source.draw(this.#knowledge);
    this.#running = { call, begun: checker.begin(), startedAt: scheduler.now, attempts: 0, isUncertain: false };
    this.#attempt(this.#running);
  }

  #attempt(running: Running): void {
    running.attempts++;
    // Clients know the addresses of the members; now and then theirs are out of date.
    const members = this.#world.hosts.filter(({ isMember }) => isMember);
    const host = this.#random.pick(members.length === 0 || this.#random.chance(0.02) ? this.#world.hosts : members);
    let isSettled = false;
    const settle = (outcome: Outcome): void => {
      if (isSettled || this.#running !== running) return;
      isSettled = true;
      this.#settle(running, host, outcome);
    };
    const { scheduler } = this.#world;
    scheduler.after(this.#random.around(hopUs), () =>
      this.#call(host, running.call, (outcome) => scheduler.after(this.#random.around(hopUs), () => settle(outcome))),
    );
    scheduler.after((deadlineMs + 200) * 1000, () => settle({ failure: 'NO_ANSWER' }));
  }

  #call(host: Host, call: Call, done: (outcome: Outcome) => void): void {
    const connection = host.connect(() => done({ failure: 'DISCONNECTED' }));
    if (connection === null) {
      done({ failure: 'UNREACHABLE' });
      return;
    }
    const reply = (outcome: CommandResult | QueryResult | PlacementError): void => {
      if (!connection.close()) return;
      done(outcome instanceof PlacementError ? { failure: outcome.code } : outcome);
    };
    connection.run((replica, now) => {
      if (call.type === 'write') replica.propose(call.command, call.requestId, now + deadlineMs, reply);
      else if (call.type === 'read') replica.read(call.query, now + deadlineMs, reply);
      else if (call.type === 'keep-alive') replica.keepAlive(call.lease, now + deadlineMs, reply);
      else replica.heartbeat(call.node, call.epoch, now + deadlineMs, reply);
    });
  }

  #settle(running: Running, host: Host, outcome: Outcome): void {
    const { call, begun } = running;
    const { scheduler, checker } = this.#world;
    if (!('failure' in outcome)) {
      scheduler.trace.add(scheduler.now, 'answer', this.name, call.name, begun.id, host.number);
      this.#answered(running, outcome);
      this.finished++;
      this.#end();
      return;
    }
    const { failure } = outcome;
    scheduler.trace.add(scheduler.now, 'no answer', this.name, call.name, begun.id, host.number, failure);
    const isHarmless = harmless.has(failure) || failure === 'NOT_LEADER';
    if (!isHarmless) running.isUncertain = true;
    // A write without a request id must not be sent again once it may have happened.
    const isRepeatable = call.type !== 'write' || call.requestId !== null || !running.isUncertain;
    if (isRepeatable && (running.attempts < attemptsMax || this.isPatient)) {
      scheduler.after(this.#random.around(20_000), () => {
        if (this.#running === running) this.#attempt(running);
      });
      return;
    }
    if (call.type === 'write') {
      if (running.isUncertain) checker.onUnknown(begun, call);
      else checker.onNothing(call);
    }
    this.#end();
  }

  #answered({ call, begun, startedAt }: Running, outcome: CommandResult | QueryResult): void {
    const { checker, leases } = this.#world;
    switch (call.type) {
      case 'write':
        checker.onWrite(begun, call, outcome as CommandResult);
        this.#learnOfWrite(call, outcome as CommandResult);
        return;
      case 'read':
        checker.onRead(begun, call, outcome as QueryResult);
        this.#learnOfRead(call, outcome as QueryResult);
        return;
      case 'keep-alive':
        if (outcome.type === 'lease') leases.onExtended(call.lease, startedAt);
        else this.#forget(call.lease);
        return;
      case 'heartbeat':
        if (outcome.type === 'node') leases.onHeard(call.node, call.epoch, startedAt);
        else this.#knowledge.nodes.delete(call.node);
    }
  }

  #learnOfWrite(call: WriteCall, result: CommandResult): void {
    const known = this.#knowledge;
    if (result.type === 'lease') {
      known.leases.push(result.lease);
      if (known.leases.length > 3) known.leases.shift();
    }
    if (result.type === 'node') known.nodes.set(result.node, result.epoch);
    if (result.type === 'refused' && 'node' in call.command) known.nodes.delete(call.command.node);
    if (result.type === 'refused' && result.code === 'LEASE_NOT_FOUND') known.leases.length = 0;
    if (result.type === 'done' && call.command.type === 'lease-revoke') this.#forget(call.command.lease);
    if (result.type !== 'transaction') return;
    known.revision = Math.max(known.revision, result.revision);
    for (const { key, action } of call.actions(result.succeeded)) {
      const hasSet = action.type === 'write' || (action.type === 'cas' && action.didSet === true);
      if (!hasSet) continue;
      known.seen.set(key, action.value);
      known.seenRevisions.set(key, action.value === null ? 0 : result.revision);
    }
  }

  #learnOfRead(call: ReadCall, result: QueryResult): void {
    if (result.type !== 'range') return;
    const known = this.#knowledge;
    known.revision = Math.max(known.revision, result.revision);
    for (const key of call.registers) {
      const item = result.items.find((each) => textOf(each.key) === key);
      known.seen.set(key, item === undefined ? null : textOf(item.value));
      known.seenRevisions.set(key, item?.modRevision ?? 0);
    }
  }

  #forget(lease: LeaseId): void {
    const { leases } = this.#knowledge;
    const index = leases.indexOf(lease);
    if (index >= 0) leases.splice(index, 1);
  }

  #end(): void {
    this.#running = null;
    this.start();
  }

  /** The run is over: what has no answer now never gets one. */
  giveUp(): void {
    this.isStopped = true;
    const running = this.#running;
    this.#running = null;
    if (running !== null && running.call.type === 'write') this.#world.checker.onUnknown(running.begun, running.call);
  }
}
