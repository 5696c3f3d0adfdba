/**
 * Retention of partitions that nobody has open: it goes through all of them slowly, and takes over those for a moment where something is
 * due. Thread: the one that holds the store; owned by `StoreFront`.
 *
 * Another node may have a partition open, and applies its retention itself. So a partition is taken only when something was due in two
 * walks and nobody has written it or taken it over in between.
 */

import { toError } from '../../std/errors.ts';
import { StorageError } from './storage-error.ts';
import { EngineFailedError, EngineLostError, type EnginePeek } from './store-engine.ts';

export interface RetentionHost {
  names(): Promise<readonly string[]>;
  isOpen(name: string): boolean;
  peek(name: string): Promise<EnginePeek | null>;
  /** Opens it, applies its retention, and lets it go; does nothing when it is open by then. */
  retain(name: string): Promise<void>;
  now(): number;
  /** Between two partitions, so that the walk costs little. */
  pause(): Promise<void>;
  /** The store is closed, or its engine is away. */
  isStopped(): boolean;
}

export class ClosedRetention {
  readonly #host: RetentionHost;
  /** What was due in the last walk, and how it looked. */
  #due = new Map<string, string>();
  #isRunning = false;

  constructor(host: RetentionHost) {
    this.#host = host;
  }

  /** One walk; does nothing while there is one. What fails is looked at in the next one. */
  async walk(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const due = new Map<string, string>();
    try {
      for (const name of await this.#host.names()) {
        if (this.#host.isStopped()) return;
        if (this.#host.isOpen(name)) continue;
        await this.#look(name, due);
        await this.#host.pause();
      }
      this.#due = due;
    } catch (error) {
      assertExpected(error);
    } finally {
      this.#isRunning = false;
    }
  }

  async #look(name: string, due: Map<string, string>): Promise<void> {
    try {
      const peek = await this.#host.peek(name);
      if (peek === null || !isDue(peek, this.#host.now())) return;
      const { id, writer, startOffset, endOffset } = peek;
      const state = `${id} ${writer} ${startOffset} ${endOffset}`;
      if (this.#due.get(name) === state) await this.#host.retain(name);
      else due.set(name, state);
    } catch (error) {
      assertExpected(error);
      if (!(error instanceof StorageError)) throw error;
    }
  }
}

function isDue({ settings, sizeBytes, oldest }: EnginePeek, nowMs: number): boolean {
  const { retentionBytes = null, retentionMs = null } = settings;
  if (oldest === null) return false;
  const isTooMuch = retentionBytes !== null && sizeBytes - oldest.bytes >= retentionBytes;
  return isTooMuch || (retentionMs !== null && oldest.maxTimestamp < nowMs - retentionMs);
}

/** The health of the store says what is wrong with the engine. */
function assertExpected(thrown: unknown): void {
  const error = toError(thrown);
  const isExpected =
    error instanceof StorageError || error instanceof EngineLostError || error instanceof EngineFailedError;
  if (!isExpected) throw error;
}
