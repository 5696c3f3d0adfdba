/**
 * What the MQTT worker has of its bridges from its first moment on; the bridges themselves are loaded behind it, and only where the
 * settings have some. Until then publishers of what a bridge stores are held back. Thread: each connection worker has one.
 */
import { copyOf, type Run } from '../../../core/broker/run.ts';
import { matches } from '../../../core/routing/topic.ts';
import type { Bridges, BridgesOptions, WorkerBridge } from './bridges.ts';
import type { OutgoingTap } from './outgoing-tap.ts';
import type { BridgeSettings } from './settings.ts';
import type { StoredDone } from './stored-writer.ts';

/** The modules are loaded within some 100 ms. */
const earlyMax = 1_000;

/** A bridge as whoever routes publications sees it. */
export class BridgeTap {
  readonly #settings: BridgeSettings;
  #tap: OutgoingTap | null = null;
  #waiting: (() => void)[] = [];
  /** Runs of the broker itself that came before the bridge was loaded: nobody can be held back. */
  #early: { readonly run: Run; readonly done: StoredDone | null }[] = [];

  constructor(settings: BridgeSettings) {
    this.#settings = settings;
  }

  /** Whether publications to this topic are stored. Asked once for each route. */
  wants(topic: string): boolean {
    const { out, store } = this.#settings;
    return out.some(({ filter, qos }) => (qos > 0 || store.qos0) && matches(filter, topic));
  }

  /** False: hold the publisher back until `whenRoom` calls. */
  get hasRoom(): boolean {
    return this.#tap?.hasRoom === true;
  }

  /** Called once, in a later turn. */
  whenRoom(callback: () => void): void {
    if (this.#tap === null) this.#waiting.push(callback);
    else this.#tap.whenRoom(callback);
  }

  /** See `OutgoingTap.copy`. */
  copy(run: Run, done: StoredDone | null): number {
    if (this.#tap !== null) return this.#tap.copy(run, done);
    if (this.#early.length < earlyMax) this.#early.push({ run: copyOf(run), done });
    else if (done !== null)
      queueMicrotask(() => done(new Error('Cannot store a message: its bridge is not loaded yet')));
    return done === null ? 0 : 1;
  }

  /** Null: the bridge stores nothing. */
  open(tap: OutgoingTap | null): void {
    this.#tap = tap;
    const early = this.#early;
    this.#early = [];
    if (tap !== null) for (const { run, done } of early) copyEarly(tap, run, done);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const callback of waiting) setImmediate(callback);
  }
}

/** Its `done` was promised to be told once. */
function copyEarly(tap: OutgoingTap, run: Run, done: StoredDone | null): void {
  if (done === null) {
    tap.copy(run, null);
    return;
  }
  let left = 0;
  let failure: Error | null = null;
  const count = tap.copy(run, (error) => {
    failure ??= error;
    left -= 1;
    if (left === 0) done(failure);
  });
  left = count;
  if (count === 0) done(null);
}

export class BridgeDoor {
  /** One for each bridge. */
  readonly taps: readonly BridgeTap[];
  #bridges: Bridges | null = null;
  #isStopped = false;

  constructor(options: BridgesOptions) {
    this.taps = options.bridges.map((settings) => new BridgeTap(settings));
    if (options.bridges.length > 0) void this.#load(options);
  }

  /** For administrators. */
  status(): readonly WorkerBridge[] {
    return this.#bridges?.status() ?? [];
  }

  /** Says goodbye to the remote brokers, and writes down how far they got. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#bridges?.stop();
  }

  async #load(options: BridgesOptions): Promise<void> {
    const { Bridges: Loaded } = await import('./bridges.ts');
    if (this.#isStopped) return;
    const bridges = new Loaded(options);
    this.#bridges = bridges;
    for (const [index, { name }] of options.bridges.entries()) this.taps[index]?.open(bridges.taps.get(name) ?? null);
    bridges.start();
  }
}
