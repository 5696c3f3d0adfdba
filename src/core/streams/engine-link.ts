/**
 * The way to an engine that can be away: one watchdog over each call, one state of health, and a pause before the next try that grows
 * while the engine does not answer. Thread: the one that holds the store; owned by `StoreFront`.
 */

import { toError } from '../../std/errors.ts';
import type { StoreHealth } from '../ports/stream-store.ts';
import { StorageError } from './storage-error.ts';
import { EngineFailedError, EngineLostError } from './store-engine.ts';

export interface EngineLinkOptions {
  /** Milliseconds since 1970. */
  now(): number;
  /** Drops stale connections of the engine. */
  reset(): void;
  /** A call that takes longer counts as lost. */
  readonly callTimeoutMs: number;
  readonly retryMsMin: number;
  readonly retryMsMax: number;
  /** From 0 up to 1. Default Math.random. */
  random?(): number;
  /** Calls were lost, and the connections with them: it is tried again. */
  onLost?(): void;
}

export class EngineLink {
  readonly #options: EngineLinkOptions;
  readonly #listeners = new Set<(health: StoreHealth) => void>();
  #health: StoreHealth;
  /** Calls that began before the last reset say nothing about the connections after it. */
  #generation = 0;
  #retryMs: number;
  /** Those who wait for the next try; told early when the engine answers somebody, or the store is closed. */
  readonly #pauses = new Set<() => void>();

  constructor(options: EngineLinkOptions) {
    this.#options = options;
    this.#retryMs = options.retryMsMin;
    this.#health = { state: 'ready', reason: '', since: options.now() };
  }

  get health(): StoreHealth {
    return this.#health;
  }

  /** Answers how to end it. */
  onHealth(listener: (health: StoreHealth) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * One try. Rejects with StorageError (nothing happened), EngineLostError (nobody knows) or EngineFailedError; what else the engine
   * throws counts as lost.
   */
  async attempt<T>(call: () => Promise<T>): Promise<T> {
    const generation = this.#generation;
    if (this.#health.state === 'failed') throw new EngineFailedError(this.#health.reason);
    try {
      const answer = await this.#watched(call);
      if (generation === this.#generation) this.#ready();
      return answer;
    } catch (thrown) {
      const error = toError(thrown);
      if (error instanceof EngineFailedError) this.#change('failed', error.message);
      else if (error instanceof StorageError && error.code !== 'STORAGE_UNAVAILABLE') this.#ready();
      else this.#lost(error, generation);
      if (error instanceof StorageError || error instanceof EngineFailedError || error instanceof EngineLostError) {
        throw error;
      }
      throw new EngineLostError(error.message, { cause: error });
    }
  }

  /** Some part of a call was lost, though the call was answered. */
  lostPart(): void {
    this.#lost(new EngineLostError('A write was lost'), this.#generation);
  }

  /**
   * Tries again until `limitMs` have passed. The call does no harm when it is done twice.
   *
   * @throws StorageError: STORAGE_UNAVAILABLE when the engine did not answer in time, STORAGE_PARTITION_FAILED when it failed for
   * good; and what the engine refuses
   */
  async call<T>(what: string, limitMs: number, call: () => Promise<T>): Promise<T> {
    const end = this.#options.now() + limitMs;
    for (;;) {
      try {
        return await this.attempt(call);
      } catch (error) {
        if (error instanceof EngineFailedError) throw engineFailed(what, error);
        const isAway = error instanceof EngineLostError || isUnavailable(error);
        if (!isAway) throw error;
        if (this.#options.now() >= end) {
          const { message } = toError(error);
          throw new StorageError('STORAGE_UNAVAILABLE', `Cannot ${what}: ${message}`, { cause: error });
        }
      }
      await this.pause();
    }
  }

  /** Until the next try is due, or the engine has answered somebody else. At once when it is ready. */
  pause(): Promise<void> {
    if (this.#health.state !== 'retrying') return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#pauses.delete(end);
        resolve();
      };
      // Half of it is chance: many nodes that lost the same engine must not come back to it in one moment.
      const timer = setTimeout(end, this.#retryMs * (0.5 + (this.#options.random ?? Math.random)() / 2));
      this.#pauses.add(end);
    });
  }

  /** Nobody waits any longer. */
  hurry(): void {
    for (const end of [...this.#pauses]) end();
  }

  #lost(error: Error, generation: number): void {
    if (generation !== this.#generation) return;
    this.#generation += 1;
    const { retryMsMin, retryMsMax } = this.#options;
    this.#retryMs = this.#health.state === 'ready' ? retryMsMin : Math.min(retryMsMax, this.#retryMs * 2);
    this.#change('retrying', error.message);
    this.#options.onLost?.();
    this.#options.reset();
  }

  #ready(): void {
    if (this.#health.state !== 'retrying') return;
    this.#change('ready', '');
    this.hurry();
  }

  #change(state: StoreHealth['state'], reason: string): void {
    const { state: before, since } = this.#health;
    if (before === 'failed') return;
    this.#health = { state, reason, since: state === before ? since : this.#options.now() };
    if (state === before) return;
    for (const listener of [...this.#listeners]) listener(this.#health);
  }

  #watched<T>(call: () => Promise<T>): Promise<T> {
    const { callTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new EngineLostError(`The engine gave no answer within ${callTimeoutMs} ms`)),
        callTimeoutMs,
      );
      call()
        .finally(() => clearTimeout(timer))
        .then(resolve, reject);
    });
  }
}

export function isUnavailable(error: unknown): boolean {
  return error instanceof StorageError && error.code === 'STORAGE_UNAVAILABLE';
}

export function engineFailed(what: string, cause: Error): StorageError {
  return new StorageError('STORAGE_PARTITION_FAILED', `Cannot ${what}: ${cause.message}`, { cause });
}
