/**
 * Durable sessions as the main thread sees them: tells each worker which slots to open before the first client comes, keeps what a
 * dead worker's sessions want in force until its successor has opened, and collects from all workers up to where the message logs can be
 * cut. Main thread; owned by the broker.
 *
 * A slot belongs to the worker of its number; those of workers that are no more go round among the ones that there are.
 */
import type { StreamStore } from '../../core/ports/stream-store.ts';
import { createInterestTable, InterestTable } from '../../core/routing/interest-table.ts';
import { groupLogPrefix } from '../../core/sessions/groups/group-key.ts';
import { sessionLogPrefix } from '../../core/sessions/session-options.ts';
import type { Logger } from '../../observability/log.ts';
import type { SessionsToMain, SessionsToWorker } from '../../workers/session-messages.ts';
import type { SessionSlotsSettings, SessionSlotsStart } from '../../workers/sessions/session-slots-start.ts';

export interface SessionServiceOptions {
  readonly workerCount: number;
  readonly settings: SessionSlotsSettings;
  /** Size of each worker's bitmap of filters, bytes, a power of two. */
  readonly interestBitmapBytes: number;
  readonly store: Pick<StreamStore, 'names'>;
  readonly log: Logger;
  liveWorkers(): readonly number[];
  post(worker: number, message: SessionsToWorker): void;
  /** All sessions of the worker were announced to the session directory. */
  opened(worker: number): void;
  /** All workers have announced theirs for the first time. */
  allOpened(): void;
}

/** The start waits this long for the storage to say what there is; the workers go on waiting without it. */
const namesWaitMs = 5_000;
const namesRetryMs = 1_000;
const upkeepMs = 10_000;

export class SessionService {
  readonly workerStart: SessionSlotsStart;
  private readonly options: SessionServiceOptions;
  /** Workers that were told what to open. */
  private readonly told = new Set<number>();
  /** Workers that have answered, with or without success. */
  private readonly answered = new Set<number>();
  private opening: PromiseWithResolvers<void> | null = null;
  private hasBegun = false;
  /** Workers that have sessions, or had in a former life. */
  private readonly users = new Set<number>();
  private isStopped = false;
  private retry: NodeJS.Timeout | null = null;
  private upkeep: NodeJS.Timeout | null = null;
  private round = 0;
  private floors = new Map<number, readonly number[] | null>();
  /** Of the round before; a session may have moved between two answers of this one. */
  private formerFloors: readonly number[] | null = null;

  constructor(options: SessionServiceOptions) {
    this.options = options;
    const bucketBits = Math.log2(options.interestBitmapBytes * 8);
    const interest = createInterestTable(options.workerCount, { bucketBits });
    this.workerStart = { settings: options.settings, interest };
  }

  /** Resolves when every worker has opened what is stored, or could not at the first try. Called when all workers serve. */
  async open(): Promise<void> {
    this.hasBegun = true;
    this.opening = Promise.withResolvers<void>();
    const { promise } = this.opening;
    await this.tellAll(true);
    await promise;
    this.opening = null;
    this.options.allOpened();
  }

  /** A worker serves. */
  workerReady(worker: number): void {
    this.told.delete(worker);
    this.answered.delete(worker);
    if (this.hasBegun) void this.tellAll(false);
  }

  /** Before anything of the dead worker is cleared, and before its successor starts. */
  workerGone(worker: number): void {
    const { interest } = this.workerStart;
    // One that had no sessions wanted nothing.
    if (this.users.has(worker)) InterestTable.hold(interest, worker);
    InterestTable.clear(interest, worker);
    this.told.delete(worker);
    this.answered.delete(worker);
    this.formerFloors = null;
    this.floors.clear();
    this.look();
  }

  handle(worker: number, message: SessionsToMain): void {
    switch (message.type) {
      case 'sessions-opened':
        this.answered.add(worker);
        if (message.problem === null) this.options.opened(worker);
        this.look();
        break;
      case 'sessions-begun':
        this.users.add(worker);
        if (this.upkeep === null && !this.isStopped) {
          this.upkeep = setInterval(() => this.beginRound(), upkeepMs);
          this.upkeep.unref();
        }
        break;
      case 'sessions-floors':
        if (message.round === this.round) this.collect(worker, message.floors);
    }
  }

  stop(): void {
    this.isStopped = true;
    if (this.retry !== null) clearTimeout(this.retry);
    if (this.upkeep !== null) clearInterval(this.upkeep);
    this.opening?.resolve();
  }

  /** The start goes on when nobody is waited for any more; a worker that died tells again when it is back. */
  private look(): void {
    const live = this.options.liveWorkers();
    if (live.every((worker) => this.answered.has(worker))) this.opening?.resolve();
  }

  private async tellAll(isStart: boolean): Promise<void> {
    if (this.retry !== null) clearTimeout(this.retry);
    this.retry = null;
    let stored: readonly number[];
    const patience = isStart ? setTimeout(() => this.opening?.resolve(), namesWaitMs) : null;
    try {
      stored = slotsOf(await this.options.store.names(), this.options.workerCount);
    } catch (error) {
      if (this.isStopped) return;
      const reason = error instanceof Error ? error.message : String(error);
      this.options.log.error('Cannot look for stored sessions: it is tried again', { error: reason });
      this.retry = setTimeout(() => void this.tellAll(false), namesRetryMs);
      this.opening?.resolve();
      return;
    } finally {
      if (patience !== null) clearTimeout(patience);
    }
    for (const worker of this.options.liveWorkers()) {
      if (this.told.has(worker)) continue;
      this.told.add(worker);
      const { workerCount } = this.options;
      const slots = stored.filter((slot) => slot % workerCount === worker);
      this.options.post(worker, { type: 'sessions-open', slots });
    }
    this.look();
  }

  // ---- up to where the logs can be cut

  private beginRound(): void {
    this.round += 1;
    this.floors.clear();
    const live = this.options.liveWorkers();
    // What a worker that is away needs, nobody knows.
    if (live.length < this.options.workerCount) {
      this.formerFloors = null;
      return;
    }
    for (const worker of live) this.options.post(worker, { type: 'sessions-upkeep', round: this.round });
  }

  private collect(worker: number, floors: readonly number[] | null): void {
    this.floors.set(worker, floors);
    if (this.floors.size < this.options.workerCount) return;
    const all = [...this.floors.values()].filter((each) => each !== null);
    const lowest = lowestOf(all);
    const former = this.formerFloors;
    this.formerFloors = lowest;
    const trimmer = [...this.floors].find(([, each]) => each !== null)?.[0];
    if (former === null || trimmer === undefined || former.length !== lowest.length) return;
    this.options.post(trimmer, { type: 'sessions-trim', floors: lowestOf([former, lowest]) });
  }
}

/** Each the lowest that anybody says; a log that somebody does not know has no session of theirs. */
function lowestOf(all: readonly (readonly number[])[]): number[] {
  const lowest: number[] = [];
  for (const floors of all) {
    for (const [log, floor] of floors.entries()) lowest[log] = Math.min(lowest[log] ?? floor, floor);
  }
  return lowest;
}

/** Those with stored sessions, and those that own stored groups: what they want is to be known before the first publication. */
function slotsOf(names: readonly string[], workerCount: number): number[] {
  const owners = numbersBehind(groupLogPrefix, names).map((shard) => shard % workerCount);
  return [...new Set([...numbersBehind(sessionLogPrefix, names), ...owners])].sort((a, b) => a - b);
}

function numbersBehind(prefix: string, names: readonly string[]): number[] {
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number(name.slice(prefix.length)))
    .filter((number) => Number.isInteger(number) && number >= 0);
}
