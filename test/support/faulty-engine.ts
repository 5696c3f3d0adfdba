/**
 * An engine between the front and a sound one that does what networks do: calls are lost before or after they were carried out, arrive
 * late, never end, or find nobody. All chance comes from the seed.
 */

import type { StreamSettings } from '../../src/core/ports/stream-store.ts';
import { StorageError } from '../../src/core/streams/storage-error.ts';
import type { EngineHandle, EngineOutcome, EngineRun, StoreEngine } from '../../src/core/streams/store-engine.ts';
import { EngineLostError } from '../../src/core/streams/store-engine.ts';
import type { Random } from '../simulation/random.ts';

export interface FaultRates {
  /** The call never reaches the engine, and says so. */
  readonly refused: number;
  /** It never reaches it, and nobody knows. */
  readonly lostBefore: number;
  /** It is carried out, and nobody knows. */
  readonly lostAfter: number;
  /** Nobody knows, and it is carried out while later calls are. */
  readonly late: number;
  /** It is carried out, and never answers. */
  readonly hangs: number;
}

export const noFaults: FaultRates = { refused: 0, lostBefore: 0, lostAfter: 0, late: 0, hangs: 0 };

export class FaultyEngine implements StoreEngine {
  readonly adapter: string;
  readonly runBytesMax: number;
  readonly appendBytesMax: number;
  readonly writesMax: number;
  rates: FaultRates = noFaults;
  /** Nothing arrives. */
  isAway = false;
  resets = 0;
  /** Snapshots of producers that reached the engine. */
  saves = 0;
  /** What becomes of the next calls of `append`, one after the other; `forward` carries the call out. */
  readonly plans: ((forward: () => Promise<readonly EngineOutcome[]>) => Promise<readonly EngineOutcome[]>)[] = [];
  /** Calls of `append` that reached the engine. */
  readonly runsSeen: EngineRun[] = [];
  readonly #engine: StoreEngine;
  readonly #random: Random;
  /** Carried out before one of the next calls. */
  #late: (() => Promise<unknown>)[] = [];

  constructor(engine: StoreEngine, random: Random, writesMax = engine.writesMax) {
    this.#engine = engine;
    this.#random = random;
    this.adapter = engine.adapter;
    this.runBytesMax = 2000;
    this.appendBytesMax = engine.appendBytesMax;
    this.writesMax = writesMax;
  }

  open(): Promise<void> {
    return this.#through(() => this.#engine.open());
  }

  reset(): void {
    this.resets += 1;
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  names(): Promise<readonly string[]> {
    return this.#through(() => this.#engine.names());
  }

  create(name: string, id: string, settings: StreamSettings): Promise<'created' | 'exists'> {
    return this.#through(() => this.#engine.create(name, id, settings));
  }

  remove(name: string, id: string): Promise<void> {
    return this.#through(() => this.#engine.remove(name, id));
  }

  claim(name: string) {
    return this.#through(() => this.#engine.claim(name), false);
  }

  peek(name: string) {
    return this.#through(() => this.#engine.peek(name));
  }

  places(handle: EngineHandle) {
    return this.#through(() => this.#engine.places(handle));
  }

  change(handle: EngineHandle, settings: StreamSettings): Promise<void> {
    return this.#through(() => this.#engine.change(handle, settings), false);
  }

  async append(runs: readonly EngineRun[]): Promise<readonly EngineOutcome[]> {
    const forward = (): Promise<readonly EngineOutcome[]> => {
      this.runsSeen.push(...runs);
      return this.#engine.append(runs);
    };
    const plan = this.plans.shift();
    if (plan !== undefined) return plan(forward);
    const outcomes = await this.#through(forward);
    // Each run can be lost for itself.
    return outcomes.map((outcome) => (this.#random.chance(this.rates.lostAfter / 2) ? 'lost' : outcome));
  }

  read(handle: EngineHandle, offset: number, bytesMax: number): Promise<readonly Buffer[]> {
    return this.#through(() => this.#engine.read(handle, offset, bytesMax));
  }

  pieces(handle: EngineHandle, from: number, limit: number) {
    return this.#through(() => this.#engine.pieces(handle, from, limit));
  }

  findTime(handle: EngineHandle, from: number, timestamp: number): Promise<number | null> {
    return this.#through(() => this.#engine.findTime(handle, from, timestamp));
  }

  deleteBefore(handle: EngineHandle, offset: number): Promise<'deleted' | 'fenced'> {
    return this.#through(() => this.#engine.deleteBefore(handle, offset));
  }

  saveProducers(handle: EngineHandle, offset: number, snapshot: Buffer): Promise<void> {
    return this.#through(() => {
      this.saves += 1;
      return this.#engine.saveProducers(handle, offset, snapshot);
    });
  }

  async #through<T>(call: () => Promise<T>, mayBeLate = true): Promise<T> {
    await new Promise(setImmediate);
    if (this.isAway) throw new EngineLostError('the engine is away');
    while (this.#late.length > 0 && this.#random.chance(0.5)) await this.#late.shift()?.();
    const { refused, lostBefore, lostAfter, late, hangs } = this.rates;
    const drawn = this.#random.share();
    let bound = refused;
    if (drawn < bound) throw new StorageError('STORAGE_UNAVAILABLE', 'no connection');
    bound += lostBefore;
    if (drawn < bound) throw new EngineLostError('lost before it arrived');
    bound += late;
    if (drawn < bound && mayBeLate) {
      this.#late.push(call);
      throw new EngineLostError('on its way for longer than anybody waits');
    }
    const answer = await call();
    bound += lostAfter;
    if (drawn < bound) throw new EngineLostError('lost after it was carried out');
    if (drawn < bound + hangs) await new Promise(() => undefined);
    return answer;
  }
}
