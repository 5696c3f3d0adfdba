/**
 * One machine of the simulation: a disk that outlives processes, a clock that may drift, and at most one process with a
 * real replica in it. Everything that reaches the process goes through `#inside`, so that a process that is dead gets
 * nothing any more and a paused one gets it later.
 */
import type { GroupStatus } from '../../src/core/ports/placement.ts';
import type { Message, ReplicaId, SnapshotRequest } from '../../src/raft/consensus/types.ts';
import { PlacementState } from '../../src/raft/placement/placement-state.ts';
import type { Transport } from '../../src/raft/ports.ts';
import { foundGroup } from '../../src/raft/replica/founding.ts';
import { reconcile } from '../../src/raft/replica/reconcile.ts';
import { Replica, type SnapshotReceiver } from '../../src/raft/replica/replica.ts';
import { defaultReplicaOptions, type NewMember } from '../../src/raft/replica/replica-ports.ts';
import type { ElectionChecker } from './checkers/elections.ts';
import type { LogChecker } from './checkers/logs.ts';
import type { StateMachineChecker } from './checkers/state-machines.ts';
import { coreOf } from './core-of.ts';
import type { Mutation } from './mutation.ts';
import type { SimulatedNetwork } from './network.ts';
import { observeLog } from './observed-log.ts';
import type { Profile } from './profile.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import { HostStorage } from './storage.ts';
import { demand, Violation } from './violation.ts';

export interface HostWorld {
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly profile: Profile;
  readonly elections: ElectionChecker;
  readonly logs: LogChecker;
  readonly states: StateMachineChecker;
  readonly mutation: Mutation | null;
  /** Where a replica lives now. */
  hostOf(replica: ReplicaId): Host | undefined;
}

/** A caller's hold on the process. */
export interface Connection {
  /** Runs in the process, unless it has died; later when it is paused. */
  run(work: (replica: Replica, nowMs: number) => void): void;
  /** False when it was closed before, or the process died. */
  close(): boolean;
}

export const tickUs = 20_000;
const electionTicks = 8;
const digestEvery = 32;
const snapshotTimeoutUs = 400_000;

interface Process {
  readonly replica: Replica;
  readonly state: PlacementState;
  readonly receivers: Map<number, { readonly receiver: SnapshotReceiver; next: number }>;
}

export class Host {
  readonly number: number;
  readonly storage: HostStorage;
  /** Its clock runs that much faster than the simulated time. */
  clockRate = 1;
  /** Identity of what the disk holds; 0 before the first. */
  replica: ReplicaId = 0;
  /** It was told to take part and not to leave. */
  isMember = false;
  /** What it stores was damaged, and nobody has replaced it yet. */
  isDamaged = false;
  isPaused = false;
  readonly #world: HostWorld;
  readonly #random: Random;
  #process: Process | null = null;
  #life = 0;
  /** The process stopped itself for good. */
  #fault: Error | null = null;
  #founders: readonly NewMember[] | null = null;
  #deferred: (() => void)[] = [];
  readonly #lost = new Set<() => void>();
  #snapshotNumber = 0;
  #ledTerm = 0;
  #commitWhenElected = 0;
  snapshotsInstalled = 0;

  constructor(number: number, world: HostWorld, random: Random) {
    this.number = number;
    this.#world = world;
    this.#random = random;
    this.storage = new HostStorage(world.scheduler, random.fork('storage'), world.mutation);
  }

  get name(): string {
    return `host-${this.number}`;
  }

  get address(): string {
    return `10.0.0.${this.number}:7000`;
  }

  get isRunning(): boolean {
    return this.#process !== null && this.#fault === null;
  }

  /** It will never serve again as it is. */
  get isLost(): boolean {
    return this.isDamaged && (this.#fault !== null || this.#process === null);
  }

  get isLeader(): boolean {
    return this.isRunning && this.status().role === 'leader';
  }

  get fault(): Error | null {
    return this.#fault;
  }

  status(): GroupStatus {
    if (this.#process === null) throw new Error('Cannot ask a host without a process');
    return this.#process.replica.status();
  }

  get state(): PlacementState | null {
    return this.#process?.state ?? null;
  }

  describe(): string {
    const what = this.#process === null ? 'down' : this.isPaused ? 'paused' : 'up';
    const status = this.#process?.replica.status();
    const role =
      status === undefined
        ? ''
        : ` ${status.role} term ${status.term} commit ${status.commitIndex} applied ${status.appliedIndex} last ${status.lastIndex}`;
    return `host ${this.number} replica ${this.replica} ${what}${role}${this.#fault === null ? '' : ` fault: ${this.#fault.message}`}`;
  }

  // --- life ---

  /** A new disk under a new identity. Founders hold the first entries of the group. */
  begin(replica: ReplicaId, founders: readonly NewMember[] | null = null): void {
    this.kill();
    this.replica = replica;
    this.#founders = founders;
    this.isMember = true;
    this.isDamaged = false;
    this.#fault = null;
    this.storage.replace();
  }

  /** The host takes no part any more, if it still is that replica. */
  retire(replica: ReplicaId): void {
    if (this.replica !== replica) return;
    this.kill();
    this.isMember = false;
  }

  start(): void {
    if (this.#process !== null || !this.isMember) return;
    const { scheduler } = this.#world;
    this.#life++;
    this.isPaused = false;
    this.#deferred = [];
    this.#fault = null;
    scheduler.trace.add(scheduler.now, 'start', this.number, this.replica);
    try {
      this.#open();
    } catch (error) {
      this.#onFault(error as Error);
    }
  }

  #open(): void {
    const { elections, logs, states } = this.#world;
    const life = this.#life;
    const log = observeLog(
      this.storage.openLog(this.replica, (work) => this.#inside(life, work)),
      {
        onAppend: (write) => logs.onAppend(this.replica, write),
        onReset: (position) => {
          this.snapshotsInstalled++;
          logs.onReset(this.replica, position);
          states.onState(this.replica, position.index);
          states.onMembership(position.index, position.membership);
        },
      },
    );
    elections.onStart(this.replica, log.initialState().hardState);
    const state = PlacementState.open(this.storage.openStore(), {
      now: () => this.nowMs,
      defer: (callback) =>
        this.#later(life, 10, () => {
          try {
            callback();
          } catch (error) {
            this.#process?.replica.reportFault(error as Error);
          }
        }),
    });
    logs.onStart(this.replica, log, state.appliedIndex);
    reconcile(log, state);
    states.onState(this.replica, state.appliedIndex);
    this.#observe(state);
    const run = (): void => this.#begin(life, log, state);
    if (this.#founders !== null && log.lastIndex() === 0) {
      foundGroup(log, this.#founders, 'simulated', (error) =>
        this.#inside(life, error === null ? run : () => this.#onFault(error)),
      );
    } else {
      run();
    }
  }

  #begin(life: number, log: ReturnType<HostStorage['openLog']>, state: PlacementState): void {
    const { elections, profile } = this.#world;
    const limits = profile.faults['small-limits'] > 0;
    const replica = new Replica(
      {
        log,
        state,
        transport: this.#transport(life),
        now: () => this.nowMs,
        random: this.#random.below,
        freeBytes: () => this.storage.freeBytes(),
        stateBytes: () => this.storage.stateBytes(),
        wake: () => this.#later(life, this.#random.between(5, 60), () => replica.process()),
        wakeLater: () => this.#later(life, this.#random.between(500, 3_000), () => replica.tellCommit()),
        onFault: (fault) => this.#onFault(fault),
        onChange: () => {
          const { role, term, commitIndex } = replica.status();
          if (role !== 'leader') return;
          if (this.#ledTerm !== term) {
            this.#ledTerm = term;
            this.#commitWhenElected = commitIndex;
          }
          elections.onLeader(this.replica, term);
        },
      },
      {
        ...defaultReplicaOptions,
        replica: this.replica,
        electionTicks,
        heartbeatTicks: 2,
        pendingMax: 50,
        keptEntries: profile.faults.compaction > 0 ? Math.round(3 / profile.faults.compaction) - 3 : 10_000,
        diskReserveBytes: HostStorage.reserveBytes,
        promotionLagMax: 20,
        ...(limits
          ? {
              limits: {
                messageBytesMax: 200,
                inflightMessagesMax: 2,
                inflightBytesMax: 600,
                uncommittedBytesMax: 3_000,
                committedBytesMax: 300,
              },
            }
          : {}),
      },
    );
    this.#process = { replica, state, receivers: new Map() };
    this.#observeReads(replica);
    this.#tick(life);
  }

  /** The checkers see what the state machine applies. */
  #observe(state: PlacementState): void {
    const { states } = this.#world;
    const apply = state.apply.bind(state);
    const applyMembership = state.applyMembership.bind(state);
    const after = (): void => {
      if (state.appliedIndex % digestEvery === 0) {
        states.onDigest(this.replica, state.appliedIndex, state.digest());
      }
    };
    state.apply = (entry) => {
      if (entry.index > states.frontier) this.#checkCommit(entry.index);
      const applied = apply(entry);
      states.onApply(this.replica, entry, applied?.result ?? null, state.revision);
      after();
      return applied;
    };
    state.applyMembership = (entry, membership) => {
      applyMembership(entry, membership);
      states.onMembership(entry.index, membership);
      states.onApply(this.replica, entry, null, state.revision);
      after();
    };
  }

  /** A read index must cover whatever was committed when it was asked for, whether a client gets to see it or not. */
  #observeReads(replica: Replica): void {
    const { states } = this.#world;
    const core = coreOf(replica);
    const readIndex = core.readIndex.bind(core);
    const ready = core.ready.bind(core);
    const floors = new Map<number, number>();
    core.readIndex = (context) => {
      floors.set(context, states.frontier);
      return readIndex(context);
    };
    core.ready = () => {
      const round = ready();
      for (const { context, index } of round.readStates) {
        const floor = floors.get(context) ?? 0;
        floors.delete(context);
        demand(
          index >= floor,
          'no-stale-read',
          () => `${this.replica} was given read index ${index}; ${floor} was committed when it asked`,
        );
      }
      return round;
    };
  }

  #checkCommit(index: number): void {
    const process = this.#process;
    if (process === null || index <= this.#commitWhenElected) return;
    const { role, term, commit } = coreOf(process.replica).status();
    if (role === 'leader' && term === this.#ledTerm) this.#world.logs.onLeaderCommit(this.replica, term, commit);
  }

  get nowMs(): number {
    return (this.#world.scheduler.now * this.clockRate) / 1000;
  }

  #tick(life: number): void {
    this.#later(life, tickUs / this.clockRate, () => {
      this.#process?.replica.tick();
      this.#tick(life);
    });
  }

  #later(life: number, delayUs: number, work: () => void): void {
    this.#world.scheduler.after(delayUs, () => this.#inside(life, work));
  }

  /** Runs in the process of that life, if it still lives. */
  #inside(life: number, work: () => void): void {
    if (life !== this.#life) return;
    if (this.isPaused) this.#deferred.push(work);
    else work();
  }

  #onFault(fault: Error): void {
    const { scheduler } = this.#world;
    scheduler.trace.add(scheduler.now, 'fault', this.number, fault.name, fault.message);
    if (fault instanceof Violation) throw fault;
    this.#fault = fault;
    const kind = this.storage.kindOf(fault);
    if (kind === 'defect') {
      throw new Violation('crash', `Host ${this.number} met ${fault.stack ?? fault.message}`, { cause: fault });
    }
    if (kind === 'corruption') {
      if (!this.isDamaged) {
        throw new Violation(
          'corruption-unfounded',
          `Host ${this.number} found damage where none was done: ${fault.message}`,
        );
      }
      this.#hangUp();
      return;
    }
    // A supervisor starts it again; what was not synced may be gone by then.
    const life = this.#life;
    scheduler.after(this.#random.around(60_000), () => {
      if (life !== this.#life) return;
      this.losePower();
      this.start();
    });
    this.#hangUp();
  }

  #hangUp(): void {
    const lost = [...this.#lost];
    this.#lost.clear();
    for (const tell of lost) this.#world.scheduler.after(this.#random.around(200), tell);
  }

  #end(): void {
    this.#process = null;
    this.#life++;
    this.isPaused = false;
    this.#deferred = [];
    this.#hangUp();
  }

  /** The process dies; what it has written stays in the memory of the system. */
  kill(): void {
    if (this.#process === null && this.#fault === null) return;
    this.#end();
    this.storage.afterKill();
  }

  /** The machine loses power: what was not synced is gone, in part or wholly. */
  losePower(): void {
    this.#end();
    this.storage.afterPowerLoss();
  }

  pause(): void {
    if (this.#process !== null) this.isPaused = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const work of deferred) this.#later(this.#life, 0, work);
  }

  /** Damages what is stored; false when nothing is. */
  flipBit(random: Random): boolean {
    const hasFlipped = this.storage.flipBit(random);
    if (hasFlipped) this.isDamaged = true;
    return hasFlipped;
  }

  // --- callers ---

  /** Null when nobody listens. `onLost` is called when the process dies before `close`. */
  connect(onLost: () => void): Connection | null {
    const process = this.#process;
    if (process === null || this.#fault !== null) return null;
    const life = this.#life;
    let isOpen = true;
    const lost = (): void => {
      if (!isOpen) return;
      isOpen = false;
      onLost();
    };
    this.#lost.add(lost);
    return {
      run: (work) => this.#inside(life, () => work(process.replica, this.nowMs)),
      close: () => {
        const wasOpen = isOpen;
        isOpen = false;
        this.#lost.delete(lost);
        return wasOpen;
      },
    };
  }

  // --- messages ---

  #transport(life: number): Transport {
    const { elections, logs } = this.#world;
    return {
      send: (messages) => {
        for (const message of messages) {
          elections.onSend(message);
          logs.onSend(message);
          this.#send(message);
        }
      },
      sendSnapshot: (message, done) => {
        elections.onSend(message);
        this.#sendSnapshot(life, message, done);
      },
    };
  }

  #send(message: Message): void {
    const { network, hostOf } = this.#world;
    const target = hostOf(message.to);
    if (target === undefined) return;
    network.send(this.number, target.number, () => {
      if (target.replica === message.to) target.#receive(message);
    });
  }

  #receive(message: Message): void {
    const life = this.#life;
    this.#inside(life, () => {
      const { scheduler } = this.#world;
      scheduler.trace.add(scheduler.now, message.type, message.from, message.to, message.term);
      this.#process?.replica.receive([message]);
    });
  }

  /** Chunk by chunk, each after the answer to the one before. Any loss ends it. */
  #sendSnapshot(life: number, message: SnapshotRequest, done: (hasArrived: boolean) => void): void {
    const { network, hostOf, scheduler } = this.#world;
    const target = hostOf(message.to);
    const state = this.#process?.state;
    if (target === undefined || state === undefined) {
      this.#later(life, 100, () => done(false));
      return;
    }
    let source: ReturnType<PlacementState['openSnapshot']>;
    try {
      source = state.openSnapshot();
    } catch (error) {
      this.#later(life, 100, () => {
        done(false);
        this.#process?.replica.reportFault(error as Error);
      });
      return;
    }
    const number = this.#snapshotNumber++ * 64 + this.number;
    scheduler.trace.add(scheduler.now, 'snapshot begins', message.from, message.to, source.position.index);
    let isOver = false;
    const over = (hasArrived: boolean): void => {
      if (isOver) return;
      isOver = true;
      source.close();
      scheduler.trace.add(scheduler.now, 'snapshot ends', message.from, message.to, String(hasArrived));
      done(hasArrived);
    };
    let progress = 0;
    const watchdog = (seen: number): void =>
      this.#later(life, snapshotTimeoutUs, () => {
        if (isOver) return;
        if (seen === progress) over(false);
        else watchdog(progress);
      });
    watchdog(0);
    const request = { ...message, position: source.position };
    const next = (): void => {
      let chunk: Uint8Array | null;
      try {
        chunk = source.next();
      } catch (error) {
        over(false);
        this.#process?.replica.reportFault(error as Error);
        return;
      }
      const expected = ++progress;
      network.send(this.number, target.number, () =>
        target.#receiveChunk(message.to, number, request, expected, chunk, (isFine) =>
          network.send(target.number, this.number, () =>
            this.#inside(life, () => {
              if (isOver || expected !== progress) return;
              if (!isFine || chunk === null) over(isFine);
              else next();
            }),
          ),
        ),
      );
    };
    next();
  }

  #receiveChunk(
    replica: ReplicaId,
    number: number,
    message: SnapshotRequest,
    expected: number,
    chunk: Uint8Array | null,
    answer: (isFine: boolean) => void,
  ): void {
    const life = this.#life;
    this.#inside(life, () => {
      const process = this.#process;
      if (process === null || this.replica !== replica || this.#fault !== null) return;
      const { receivers } = process;
      if (expected === 1 && !receivers.has(number)) {
        try {
          receivers.set(number, { receiver: process.replica.receiveSnapshot(message), next: 1 });
        } catch {
          // Another one is being installed: the sender is told below, and tries again.
        }
      }
      const stream = receivers.get(number);
      if (stream === undefined) {
        answer(false);
        return;
      }
      if (stream.next !== expected) return; // A repeated one; streams have none.
      stream.next++;
      const done = (error: Error | null): void => {
        const { scheduler, states } = this.#world;
        if (error === null && chunk === null) states.onState(replica, process.state.appliedIndex);
        if (error !== null) scheduler.trace.add(scheduler.now, 'snapshot refused', this.number, error.message);
        answer(error === null);
      };
      try {
        if (chunk === null) stream.receiver.finish(done);
        else stream.receiver.write(chunk, done);
      } catch (error) {
        // A stream that another one has replaced.
        stream.receiver.abort();
        done(error as Error);
      }
    });
  }
}
