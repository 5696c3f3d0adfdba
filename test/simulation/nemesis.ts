/** Brings the faults of the profile upon the group, each kind in its own rhythm, until the run heals. */
import type { Host } from './host.ts';
import { calmNetwork, type SimulatedNetwork } from './network.ts';
import type { FaultKind, Profile } from './profile.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export interface NemesisWorld {
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly hosts: readonly Host[];
  readonly profile: Profile;
  /** Hosts that take part in the group now. */
  membersNow(): readonly Host[];
  /** One more host may lose or damage what it has stored. */
  mayDamage(host: Host): boolean;
}

const msUs = 1000;

interface Episode {
  /** Mean time from one to the next at full intensity. */
  readonly everyMs: number;
  /** Begins it; answers how to end it and when, or null when it was over at once or could not be. */
  begin(random: Random): { readonly lastsMs: number; end(): void } | null;
}

export class Nemesis {
  /** Faults that really happened, by kind. */
  readonly counts = new Map<FaultKind, number>();
  readonly #world: NemesisWorld;
  readonly #random: Random;
  #isOver = false;

  constructor(world: NemesisWorld, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  start(): void {
    this.#applyNetwork();
    this.#applySpeeds();
    for (const [kind, episode] of this.#episodes()) {
      const intensity = this.#world.profile.faults[kind];
      if (intensity > 0) this.#loop(episode, intensity, this.#random.fork(kind));
    }
  }

  /** For runs in which nothing has happened by itself. */
  force(): void {
    const begun = this.#stopOne('kill', this.#random, (host) => host.kill());
    if (begun !== null) this.#world.scheduler.after(50 * msUs, () => begun.end());
  }

  /** Nothing new begins; what has begun is ended by whoever heals. */
  stop(): void {
    this.#isOver = true;
  }

  #note(kind: FaultKind, ...details: (string | number)[]): void {
    const { scheduler } = this.#world;
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    scheduler.trace.add(scheduler.now, kind, ...details);
  }

  #loop(episode: Episode, intensity: number, random: Random): void {
    const { scheduler } = this.#world;
    const again = (): void => scheduler.after(random.around((episode.everyMs / intensity) * msUs), run);
    const run = (): void => {
      if (this.#isOver) return;
      const begun = episode.begin(random);
      if (begun === null) {
        again();
        return;
      }
      scheduler.after(random.around(begun.lastsMs * msUs) + msUs, () => {
        if (!this.#isOver) begun.end();
        again();
      });
    };
    again();
  }

  #applyNetwork(): void {
    const { network, profile } = this.#world;
    const { faults } = profile;
    Object.assign(network.options, {
      delayUsMin: calmNetwork.delayUsMin,
      delayUsMean: calmNetwork.delayUsMean + faults.delay * 8 * msUs,
      lossShare: faults.loss * 0.15,
      duplicateShare: faults.duplicate * 0.4,
      reorderShare: faults.reorder * 0.3,
      clogShare: faults.clog * 0.01,
      losesUnderWay: this.#random.fork('under way').chance(0.5),
      clogUsMean: (40 + 160 * faults.clog) * msUs,
    });
  }

  #applySpeeds(): void {
    const { hosts, profile } = this.#world;
    const random = this.#random.fork('speeds');
    for (const host of hosts) {
      const drift = (random.share() * 2 - 1) * 0.08 * profile.faults['clock-drift'];
      host.clockRate = 1 + drift;
      host.storage.options.syncUsMean = profile.faults['slow-sync'] > 0 ? random.around(10 * msUs) : 300;
      host.storage.options.tornShare = profile.faults['torn-write'];
      if (drift !== 0) this.#note('clock-drift', host.number);
    }
  }

  /** Some of the hosts, at least one and not all. */
  #someHosts(random: Random): Host[] {
    const hosts = random.shuffle(this.#world.membersNow());
    return hosts.slice(0, Math.max(1, random.below(hosts.length)));
  }

  #episodes(): readonly (readonly [FaultKind, Episode])[] {
    return [
      ['partition', { everyMs: 120, begin: (random) => this.#partition(random, true) }],
      ['one-way-cut', { everyMs: 120, begin: (random) => this.#partition(random, false) }],
      ['kill', { everyMs: 120, begin: (random) => this.#stopOne('kill', random, (host) => host.kill()) }],
      [
        'power-loss',
        { everyMs: 120, begin: (random) => this.#stopOne('power-loss', random, (host) => host.losePower()) },
      ],
      ['power-loss-of-all', { everyMs: 350, begin: (random) => this.#stopAll(random) }],
      ['pause', { everyMs: 120, begin: (random) => this.#pause(random) }],
      ['slow-sync', { everyMs: 150, begin: (random) => this.#slowSync(random) }],
      ['failing-sync', { everyMs: 350, begin: (random) => this.#failSync(random) }],
      ['bit-flip', { everyMs: 150, begin: (random) => this.#flipBit(random) }],
      ['disk-full', { everyMs: 250, begin: (random) => this.#fillDisk(random) }],
    ];
  }

  #partition(random: Random, isSymmetric: boolean): { lastsMs: number; end(): void } | null {
    const { network, hosts } = this.#world;
    if (hosts.length < 2) return null;
    const leader = hosts.find((host) => host.isLeader);
    // A leader that is cut off and does not know it is what most promises have to stand.
    const isLeaderAlone = leader !== undefined && random.chance(0.4);
    const some = new Set(isLeaderAlone ? [leader] : this.#someHosts(random));
    const isInward = random.chance(0.5);
    // Now and then only one way between two hosts.
    const isNarrow = !isSymmetric && !isLeaderAlone && random.chance(0.4);
    const [one, other] = random.shuffle(hosts);
    for (const left of hosts) {
      for (const right of hosts) {
        if (isNarrow) continue;
        if (some.has(left) === some.has(right)) continue;
        if (isSymmetric || some.has(left) === isInward) network.cut(left.number, right.number);
      }
    }
    if (isNarrow) network.cut(one.number, other.number);
    this.#note(isSymmetric ? 'partition' : 'one-way-cut', ...[...some].map(({ number }) => number));
    return { lastsMs: 300, end: () => network.heal() };
  }

  #stopOne(kind: FaultKind, random: Random, stop: (host: Host) => void): { lastsMs: number; end(): void } | null {
    const running = this.#world.membersNow().filter((host) => host.isRunning);
    if (running.length === 0) return null;
    // The leader is the one whose loss hurts.
    const leaders = running.filter((host) => host.isLeader);
    const host = leaders.length > 0 && random.chance(0.4) ? random.pick(leaders) : random.pick(running);
    this.#note(kind, host.number);
    stop(host);
    return { lastsMs: 150, end: () => host.start() };
  }

  #stopAll(random: Random): { lastsMs: number; end(): void } | null {
    const running = this.#world.membersNow().filter((host) => host.isRunning);
    if (running.length === 0) return null;
    this.#note('power-loss-of-all', running.length);
    for (const host of running) host.losePower();
    const later = random.shuffle(running);
    return {
      lastsMs: 50,
      end: () => {
        for (const host of later) {
          this.#world.scheduler.after(random.around(40 * msUs), () => {
            if (!this.#isOver) host.start();
          });
        }
      },
    };
  }

  #pause(random: Random): { lastsMs: number; end(): void } | null {
    const running = this.#world.membersNow().filter((host) => host.isRunning && !host.isPaused);
    if (running.length === 0) return null;
    const leaders = running.filter((host) => host.isLeader);
    const host = leaders.length > 0 && random.chance(0.5) ? random.pick(leaders) : random.pick(running);
    this.#note('pause', host.number);
    host.pause();
    return { lastsMs: 400, end: () => host.resume() };
  }

  #slowSync(random: Random): { lastsMs: number; end(): void } | null {
    const host = random.pick(this.#world.hosts);
    const before = host.storage.options.syncUsMean;
    host.storage.options.syncUsMean = random.between(20, 200) * msUs;
    this.#note('slow-sync', host.number);
    return {
      lastsMs: 200,
      end: () => {
        host.storage.options.syncUsMean = before;
      },
    };
  }

  #failSync(random: Random): null {
    const running = this.#world.membersNow().filter((host) => host.isRunning);
    if (running.length === 0) return null;
    const host = random.pick(running);
    this.#note('failing-sync', host.number);
    host.storage.failSync();
    return null;
  }

  #flipBit(random: Random): null {
    const candidates = this.#world.membersNow().filter((host) => this.#world.mayDamage(host));
    if (candidates.length === 0) return null;
    const host = random.pick(candidates);
    if (host.flipBit(random)) this.#note('bit-flip', host.number);
    return null;
  }

  #fillDisk(random: Random): { lastsMs: number; end(): void } | null {
    const host = random.pick(this.#world.membersNow());
    const isHard = random.chance(0.2);
    this.#note('disk-full', host.number, isHard ? 'hard' : 'soft');
    host.storage.fill(isHard);
    return { lastsMs: 250, end: () => host.storage.empty() };
  }
}
