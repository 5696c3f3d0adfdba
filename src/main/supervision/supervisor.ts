/**
 * Starts the connection workers, watches them and replaces those that die or stall. Lives on the main thread.
 *
 * A worker shows that it turns by a heartbeat in shared memory. One that throws has ended by itself; one whose heart
 * stands still longer than the limit is terminated. Either way its sockets close with its thread, what it owned in
 * shared memory is cleaned up by the owner of this class (`gone`), the others are told, and a successor with the same
 * index starts after a back-off.
 */
import type { Socket } from 'node:net';
import type { Transferable } from 'node:worker_threads';
import type { Logger } from '../../observability/log.ts';
import type { RestartCause } from '../../observability/main-metrics.ts';
import { BrokerError } from '../../std/errors.ts';
import type { MainToWorker, WorkerToMain } from '../../workers/messages.ts';
import type { WorkerStart } from '../../workers/runtime/worker-start.ts';
import type { WorkerPost } from '../directory/broadcast-hub.ts';
import { BackOff } from './back-off.ts';
import { describeThrown } from './describe-thrown.ts';
import { WorkerThread } from './worker-thread.ts';

/** How long a thread may take to load its modules and answer `ready`. */
const START_LIMIT_MS = 15_000;
/** A thread always has this long to end after `stop` before it is terminated. */
const STOP_LIMIT_MS_MIN = 1_000;
/** Drained workers answer by themselves; this much later their silence counts as an answer. */
const DRAIN_GRACE_MS = 500;

/** What the supervisor needs to know of heartbeats. */
export interface StallMonitor {
  /** The worker begins to serve: its age starts anew. */
  reset(worker: number, nowMs: number): void;
  /** Whether the worker's heart has stood still for more than `limitMs` although the caller looked. */
  stalled(worker: number, nowMs: number, limitMs: number): boolean;
}

export interface SupervisorOptions {
  readonly workerCount: number;
  readonly stallLimitMs: number;
  readonly restartBackoffMs: number;
  readonly restartBackoffMaxMs: number;
  readonly heartbeats: StallMonitor;
  readonly log: Logger;
  /** The first message to a worker. */
  startOf(worker: number): WorkerStart;
  /** A message that is not about the life of the worker. */
  message(worker: number, message: WorkerToMain): void;
  /** A worker serves; it is among `liveWorkers`. */
  ready(worker: number): void;
  /** A worker died and is no longer among `liveWorkers`. Cleans up behind it; its successor is not started yet. */
  gone(worker: number, cause: RestartCause): void;
}

interface Seat {
  readonly index: number;
  readonly backOff: BackOff;
  thread: WorkerThread | null;
  /** When its thread started, then when it began to serve. */
  startedMs: number;
  ready: boolean;
  /** Being ended by the supervisor. */
  ending: boolean;
  restart: NodeJS.Timeout | null;
  drained: ((cutConnections: number) => void) | null;
}

export class Supervisor implements WorkerPost {
  private readonly options: SupervisorOptions;
  private readonly log: Logger;
  private readonly seats: Seat[] = [];
  private live: readonly number[] = [];
  private check: NodeJS.Timeout | null = null;
  private stopping = false;
  /** Settles the promise of `start`; null before and afterwards. */
  private starting: PromiseWithResolvers<void> | null = null;

  constructor(options: SupervisorOptions) {
    this.options = options;
    this.log = options.log;
    for (let index = 0; index < options.workerCount; index++) {
      this.seats.push({
        index,
        backOff: new BackOff(options.restartBackoffMs, options.restartBackoffMaxMs),
        thread: null,
        startedMs: 0,
        ready: false,
        ending: false,
        restart: null,
        drained: null,
      });
    }
  }

  /**
   * Starts all workers and resolves when all serve. Rejects with `WORKER_START_FAILED` when one ends before; the
   * others are then running, call `stop`. `warm` are threads that were created ahead and were told nothing yet; those
   * that are too many are ended.
   */
  start(warm: readonly WorkerThread[] = []): Promise<void> {
    this.starting = Promise.withResolvers<void>();
    const started = this.starting.promise;
    for (const seat of this.seats) this.launchFirst(seat, warm[seat.index]);
    for (const surplus of warm.slice(this.seats.length)) void surplus.terminate();
    const intervalMs = Math.max(20, Math.min(500, this.options.stallLimitMs / 4));
    this.check = setInterval(() => this.watch(), intervalMs);
    return started;
  }

  liveWorkers(): readonly number[] {
    return this.live;
  }

  post(worker: number, message: MainToWorker, transfer: readonly Transferable[] = []): void {
    const seat = this.seats[worker];
    if (seat.ready) seat.thread?.post(message, transfer);
  }

  /** Moves a socket to a worker; false when it cannot take it, the socket is then still the caller's. */
  handOver(worker: number, listener: number, socket: Socket, isSurplus = false): boolean {
    const seat = this.seats[worker];
    return seat.ready && seat.thread?.handOver(listener, socket, isSurplus) === true;
  }

  /** Lets all workers say goodbye. Resolves with the number of connections that had to be cut at the limit. */
  async drain(limitMs: number): Promise<number> {
    this.endSupervision();
    const answers = this.seats.map((seat) => this.drainOne(seat, limitMs));
    const cut = await Promise.all(answers);
    return cut.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Ends all workers. Open connections are cut; call `drain` before to be polite. What the kernels have not taken yet of
   * connections that were closed may leave within `flushLimitMs`.
   */
  async stop(flushLimitMs: number): Promise<void> {
    this.endSupervision();
    await Promise.all(this.seats.map((seat) => this.stopOne(seat, Math.max(STOP_LIMIT_MS_MIN, flushLimitMs))));
  }

  private launchFirst(seat: Seat, warm: WorkerThread | undefined): void {
    try {
      this.launch(seat, warm ?? new WorkerThread());
    } catch (error) {
      this.failStart(seat.index, error, 'error'); // Not a single descriptor or thread is left.
    }
  }

  private launch(seat: Seat, thread: WorkerThread): void {
    seat.thread = thread;
    seat.ready = false;
    seat.ending = false;
    seat.startedMs = performance.now();
    thread.onMessage = (message) => {
      // What a thread sends after its end was decided belongs to nobody.
      if (seat.thread === thread) this.receive(seat, message);
    };
    thread.onExit((error) => this.exited(seat, error));
    thread.post({ type: 'start', start: this.options.startOf(seat.index) });
  }

  private receive(seat: Seat, message: WorkerToMain): void {
    if (message.type === 'ready') this.becameReady(seat);
    else if (message.type === 'drained') seat.drained?.(message.cutConnections);
    else this.options.message(seat.index, message);
  }

  private becameReady(seat: Seat): void {
    const { index } = seat;
    seat.ready = true;
    seat.startedMs = performance.now();
    this.options.heartbeats.reset(index, seat.startedMs);
    for (const other of this.live) {
      this.post(other, { type: 'worker-ready', worker: index });
      this.post(index, { type: 'worker-ready', worker: other });
    }
    this.live = [...this.live, index].sort((left, right) => left - right);
    this.options.ready(index);
    if (this.starting === null) this.log.info('worker serves again', { worker: index });
    else if (this.live.length === this.seats.length) {
      this.starting.resolve();
      this.starting = null;
    }
  }

  private exited(seat: Seat, error: unknown): void {
    const { index } = seat;
    const wasReady = seat.ready;
    const livedMs = wasReady ? performance.now() - seat.startedMs : 0;
    seat.thread = null;
    seat.ready = false;
    this.live = this.live.filter((worker) => worker !== index);
    seat.drained?.(0);
    if (this.stopping && error === undefined) return;

    const cause = seat.ending ? 'stall' : error === undefined ? 'exit' : 'error';
    this.log.error('worker died', { worker: index, cause, ...describeThrown(error) });
    if (this.stopping) return;
    this.options.gone(index, cause);
    if (wasReady) for (const other of this.live) this.post(other, { type: 'worker-gone', worker: index });
    // A broker that never served has nothing to keep alive: its start fails instead.
    if (this.failStart(index, error, cause)) return;
    this.scheduleRestart(seat, livedMs);
  }

  /** Whether the worker's end is the end of the broker's start. */
  private failStart(worker: number, error: unknown, cause: RestartCause): boolean {
    if (this.starting === null) return false;
    const detail = describeThrown(error).error ?? `it ended (${cause})`;
    this.starting.reject(
      new BrokerError('WORKER_START_FAILED', `Cannot start worker "${worker}": ${detail}`, { cause: error }),
    );
    return true;
  }

  private scheduleRestart(seat: Seat, livedMs: number): void {
    const delayMs = seat.backOff.after(livedMs);
    this.log.info('worker is replaced', { worker: seat.index, delayMs });
    seat.restart = setTimeout(() => {
      seat.restart = null;
      this.relaunch(seat);
    }, delayMs);
  }

  private relaunch(seat: Seat): void {
    try {
      this.launch(seat, new WorkerThread());
    } catch (error) {
      // The process is out of descriptors or memory: that passes, and the next try is later.
      this.log.error('worker cannot be started', { worker: seat.index, ...describeThrown(error) });
      this.scheduleRestart(seat, 0);
    }
  }

  private watch(): void {
    const nowMs = performance.now();
    for (const seat of this.seats) {
      if (seat.thread === null || seat.ending) continue;
      if (seat.ready) {
        const stalled = this.options.heartbeats.stalled(seat.index, nowMs, this.options.stallLimitMs);
        if (stalled) this.end(seat, seat.thread, 'worker stalled', this.options.stallLimitMs);
      } else if (nowMs - seat.startedMs > START_LIMIT_MS) {
        this.end(seat, seat.thread, 'worker did not become ready', START_LIMIT_MS);
      }
    }
  }

  private end(seat: Seat, thread: WorkerThread, why: string, limitMs: number): void {
    this.log.error(why, { worker: seat.index, limitMs });
    seat.ending = true;
    thread.terminate().catch((error: unknown) => {
      this.log.error('worker cannot be terminated', { worker: seat.index, ...describeThrown(error) });
    });
  }

  private endSupervision(): void {
    this.stopping = true;
    if (this.check !== null) clearInterval(this.check);
    this.check = null;
    for (const seat of this.seats) {
      if (seat.restart !== null) clearTimeout(seat.restart);
      seat.restart = null;
    }
  }

  private async drainOne(seat: Seat, limitMs: number): Promise<number> {
    if (!seat.ready) return 0;
    let timer: NodeJS.Timeout | null = null;
    const answer = new Promise<number>((resolve) => {
      seat.drained = resolve;
      timer = setTimeout(() => resolve(0), limitMs + DRAIN_GRACE_MS);
    });
    this.post(seat.index, { type: 'drain', limitMs });
    const cut = await answer;
    if (timer !== null) clearTimeout(timer);
    seat.drained = null;
    return cut;
  }

  private async stopOne(seat: Seat, limitMs: number): Promise<void> {
    const { thread } = seat;
    if (thread === null) return;
    // A thread that still starts would answer late; nothing is lost when it is ended where it stands.
    if (!seat.ready) {
      await thread.terminate();
      return;
    }
    thread.post({ type: 'stop' });
    const timer = setTimeout(() => {
      // A peer that does not read what is left for it, or a thread that hangs.
      thread.terminate().catch((error: unknown) => {
        this.log.error('worker cannot be terminated', { worker: seat.index, ...describeThrown(error) });
      });
    }, limitMs);
    await thread.exited;
    clearTimeout(timer);
  }
}
