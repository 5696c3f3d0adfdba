/**
 * The simulated network: carries messages between replicas with the delays, losses and cuts that its options say. Between
 * two replicas messages keep their order, as on a connection, unless `reorderShare` has one overtake.
 */
import type { Random } from './random.ts';
import type { Scheduler, SimTime } from './scheduler.ts';

export interface NetworkOptions {
  /** One-way: fixed part and mean of the exponential part. */
  delayUsMin: number;
  delayUsMean: number;
  lossShare: number;
  duplicateShare: number;
  reorderShare: number;
  /** A message that opens a clog: the link stands still for about `clogUsMean`, then delivers all at once. */
  clogShare: number;
  clogUsMean: number;
  /** Whether a cut also loses what is under way, or lets it arrive: then old messages come when new ones cannot. */
  losesUnderWay: boolean;
}

/** Of copies that arrive out of order. */
const lateUsMean = 150_000;

/** No faults: what holds after healing. */
export const calmNetwork: Readonly<NetworkOptions> = {
  delayUsMin: 100,
  delayUsMean: 200,
  lossShare: 0,
  duplicateShare: 0,
  reorderShare: 0,
  clogShare: 0,
  clogUsMean: 0,
  losesUnderWay: true,
};

interface Link {
  /** Nothing that is in order arrives before this. */
  busyUntil: SimTime;
}

export interface NetworkCounts {
  sent: number;
  delivered: number;
  lost: number;
  cut: number;
  duplicated: number;
  reordered: number;
  clogged: number;
}

/** Addresses are numbers of hosts. */
export class SimulatedNetwork {
  readonly options: NetworkOptions = { ...calmNetwork };
  readonly counts: NetworkCounts = { sent: 0, delivered: 0, lost: 0, cut: 0, duplicated: 0, reordered: 0, clogged: 0 };
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #links = new Map<number, Link>();
  readonly #cuts = new Set<number>();

  constructor(scheduler: Scheduler, random: Random) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  #key(from: number, to: number): number {
    return from * 1024 + to;
  }

  /** Cuts the way from one host to another; the way back stays. */
  cut(from: number, to: number): void {
    this.#cuts.add(this.#key(from, to));
  }

  isCut(from: number, to: number): boolean {
    return this.#cuts.has(this.#key(from, to));
  }

  /** Ends every cut. */
  heal(): void {
    this.#cuts.clear();
  }

  /** Also ends delays that have begun. */
  calm(): void {
    this.heal();
    Object.assign(this.options, calmNetwork);
    this.#links.clear();
  }

  /** Calls `deliver` none, one or two times. */
  send(from: number, to: number, deliver: () => void): void {
    this.counts.sent++;
    if (this.#random.chance(this.options.lossShare)) {
      this.counts.lost++;
      return;
    }
    if (this.isCut(from, to)) {
      this.counts.cut++;
      return;
    }
    this.#dispatch(from, to, deliver);
    if (this.#random.chance(this.options.duplicateShare)) {
      this.counts.duplicated++;
      // At once, or so late that much has changed since.
      if (this.#random.chance(0.5)) this.#dispatch(from, to, deliver);
      else this.#arrive(from, to, this.#random.around(lateUsMean), deliver);
    }
  }

  #dispatch(from: number, to: number, deliver: () => void): void {
    const { options } = this;
    const now = this.#scheduler.now;
    const link = this.#linkOf(from, to);
    if (this.#random.chance(options.clogShare)) {
      this.counts.clogged++;
      link.busyUntil = Math.max(link.busyUntil, now + this.#random.around(options.clogUsMean));
    }
    let at = now + options.delayUsMin + this.#random.around(options.delayUsMean);
    if (this.#random.chance(options.reorderShare)) {
      this.counts.reordered++;
      at += this.#random.around(options.delayUsMean * 4);
    } else {
      at = Math.max(at, link.busyUntil);
      link.busyUntil = at;
    }
    this.#arrive(from, to, at - now, deliver);
  }

  #arrive(from: number, to: number, delayUs: number, deliver: () => void): void {
    this.#scheduler.after(delayUs, () => {
      if (this.options.losesUnderWay && this.isCut(from, to)) {
        this.counts.cut++;
        return;
      }
      this.counts.delivered++;
      deliver();
    });
  }

  #linkOf(from: number, to: number): Link {
    const key = this.#key(from, to);
    let link = this.#links.get(key);
    if (link === undefined) {
      link = { busyUntil: 0 };
      this.#links.set(key, link);
    }
    return link;
  }
}
