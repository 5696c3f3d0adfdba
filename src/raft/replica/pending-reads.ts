/**
 * Linearizable reads that have no answer yet. All reads that wait share one read-index round; a few rounds may be under
 * way at once, and one that gets no answer is asked again. Thread: the Raft worker; used by `replica.ts`.
 */
import { PlacementError } from '../../core/ports/placement.ts';
import type { LogIndex } from '../consensus/types.ts';

const ROUNDS_MAX = 8;

interface Read {
  readonly deadline: number;
  /** Called when the state is recent enough. */
  run(): void;
  fail(error: PlacementError): void;
}

interface Round {
  readonly context: number;
  readonly reads: readonly Read[];
  /** Tick at which it was asked for. */
  readonly tick: number;
}

interface ConfirmedRound {
  readonly index: LogIndex;
  readonly reads: readonly Read[];
}

export class PendingReads {
  private readonly countMax: number;
  private readonly retryTicks: number;
  private nextContext: number;
  private count = 0;
  private waiting: Read[] = [];
  private readonly rounds = new Map<number, Round>();
  private confirmed: ConfirmedRound[] = [];

  /** `firstContext` differs from those of earlier lives of the process. */
  constructor(countMax: number, retryTicks: number, firstContext: number) {
    this.countMax = countMax;
    this.retryTicks = retryTicks;
    this.nextContext = firstContext;
  }

  get isFull(): boolean {
    return this.count >= this.countMax;
  }

  add(read: Read): void {
    this.count++;
    this.waiting.push(read);
  }

  /** Asks for a round for everything that waits; `ask` says whether there is a leader to ask. */
  issue(tick: number, ask: (context: number) => boolean): void {
    if (this.waiting.length === 0 || this.rounds.size >= ROUNDS_MAX) return;
    const context = this.nextContext;
    if (!ask(context)) return;
    this.nextContext++;
    this.rounds.set(context, { context, reads: this.waiting, tick });
    this.waiting = [];
  }

  /** The reads of the round may run once `index` is applied. */
  confirm(context: number, index: LogIndex): void {
    const round = this.rounds.get(context);
    if (round === undefined) return; // Was asked again meanwhile.
    this.rounds.delete(context);
    this.confirmed.push({ index, reads: round.reads });
  }

  run(applied: LogIndex): void {
    if (this.confirmed.length === 0) return;
    const ready = this.confirmed.filter(({ index }) => index <= applied);
    if (ready.length === 0) return;
    this.confirmed = this.confirmed.filter(({ index }) => index > applied);
    for (const { reads } of ready) {
      this.count -= reads.length;
      for (const read of reads) read.run();
    }
  }

  /** Repeats rounds without an answer and fails reads that waited for too long. */
  sweep(tick: number, now: number, hasLeader: boolean): void {
    for (const round of this.rounds.values()) {
      if (tick - round.tick < this.retryTicks) continue;
      this.rounds.delete(round.context);
      this.waiting = [...round.reads, ...this.waiting];
    }
    if (this.count === 0) return;
    const late: Read[] = [];
    const keep = (reads: readonly Read[]): Read[] =>
      reads.filter((read) => {
        if (read.deadline > now) return true;
        late.push(read);
        return false;
      });
    this.waiting = keep(this.waiting);
    for (const [context, round] of this.rounds) this.rounds.set(context, { ...round, reads: keep(round.reads) });
    this.confirmed = this.confirmed.map(({ index, reads }) => ({ index, reads: keep(reads) }));
    this.count -= late.length;
    const error = hasLeader
      ? new PlacementError('TIMED_OUT', 'The read was not confirmed in time')
      : new PlacementError('NO_LEADER', 'No replica leads the group');
    for (const read of late) read.fail(error);
  }

  failAll(error: PlacementError): void {
    const reads = [
      ...this.waiting,
      ...[...this.rounds.values()].flatMap((round) => round.reads),
      ...this.confirmed.flatMap((round) => round.reads),
    ];
    this.waiting = [];
    this.rounds.clear();
    this.confirmed = [];
    this.count = 0;
    for (const read of reads) read.fail(error);
  }
}
