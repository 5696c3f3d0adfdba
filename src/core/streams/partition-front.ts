/**
 * `StreamPartition` over an engine: the one writer of a partition. It has at most one run of batches under way; what comes meanwhile
 * goes into the next one. Thread: the one that holds the store; owned by `StoreFront`, which writes the runs of many partitions together.
 *
 * A lost write. The engine stores a run only where it expects it, and each run has the epoch of its writer in its batches. So when a
 * write is lost, the end of the partition tells all: it is where the run begins (nothing was stored: the same run is sent again, and
 * should the lost one still arrive, only one of them finds its place), or the bytes behind it are those of the run (it is stored), or they
 * are of an earlier run that was given up (they are taken in, and the appends get other offsets), or of a newer writer (this one is out).
 *
 * After a time without an answer whoever waits is told so: STORAGE_UNAVAILABLE when nothing was sent, STORAGE_UNCERTAIN when a write
 * was lost and the engine is still away. Such a run is never sent again; the next one finds out whether it is there.
 */

import { assert } from '../../std/assert.ts';
import { toError } from '../../std/errors.ts';
import { validateBatches } from '../batch/validate-batch.ts';
import type {
  AppendDone,
  CommittedListener,
  PartitionPlaces,
  ReadAnswer,
  ReadRequest,
  StreamPartition,
  StreamSettings,
  TimedOffset,
} from '../ports/stream-store.ts';
import { AppendRun, refusal, type WaitingAppend } from './append-run.ts';
import { engineFailed, isUnavailable } from './engine-link.ts';
import { FrontReader } from './front-reader.ts';
import { type FrontHost, FrontState, stepBytes } from './front-state.ts';
import { StorageError } from './storage-error.ts';
import { type EngineFailedError, type EngineHandle, EngineLostError, type EngineOutcome } from './store-engine.ts';
import { checkedBatches, corrupted, type FoundBatch } from './stored-batches.ts';
import { defaultBatchBytesMax } from './stream-settings.ts';

export interface PartitionHost extends FrontHost {
  /** Makes room for an append. @throws StorageError STORAGE_UNAVAILABLE when too much waits, STORAGE_CLOSED */
  reserve(bytes: number): void;
  release(bytes: number): void;
  /** The partition has something to write. */
  wake(partition: PartitionFront): void;
}

export class PartitionFront implements StreamPartition {
  readonly name: string;
  readonly #host: PartitionHost;
  readonly #state: FrontState;
  readonly #reader: FrontReader;
  #waiting: WaitingAppend[] = [];
  #run: AppendRun | null = null;
  /** The same run is to be written again. */
  #isResent = false;
  /** A call to the engine is on its way that may store the run. */
  #isWriting = false;
  /** Wait until nothing of this partition is under way. */
  #tasks: (() => Promise<void>)[] = [];
  #isTaskRunning = false;
  /** The producers are being saved, or will be as soon as nothing is under way. */
  #isResting = false;
  readonly #listeners = new Set<CommittedListener>();

  private constructor(host: PartitionHost, state: FrontState) {
    this.name = state.name;
    this.#host = host;
    this.#state = state;
    this.#reader = new FrontReader(state);
  }

  /** Takes the partition over, and reads what it has to know. @throws StorageError STORAGE_PARTITION_UNKNOWN, STORAGE_UNAVAILABLE, … */
  static async open(host: PartitionHost, name: string): Promise<PartitionFront> {
    return new PartitionFront(host, await FrontState.open(host, name));
  }

  get id(): string {
    return this.#state.handle.id;
  }

  get settings(): StreamSettings {
    return this.#state.settings;
  }

  get failure(): StorageError | null {
    return this.#state.failure;
  }

  // --- the port ---

  append(bytes: Buffer, done: AppendDone): void {
    const { engine, now, reserve, wake } = this.#host;
    try {
      if (this.#state.failure !== null) throw this.#state.failure;
      if (bytes.length > engine.appendBytesMax) {
        const what = `${bytes.length} bytes, more than ${engine.appendBytesMax}`;
        throw new StorageError('STORAGE_BATCH_INVALID', `Cannot append to "${this.name}": there are ${what}`);
      }
      const batchBytesMax = this.#state.settings.batchBytesMax ?? defaultBatchBytesMax;
      const headers = validateBatches(bytes, 'producer', { batchBytesMax });
      reserve(bytes.length);
      this.#waiting.push({ bytes, headers, done, since: now() });
      wake(this);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      queueMicrotask(() => done(refusal(error)));
    }
  }

  read(request: ReadRequest): Promise<ReadAnswer> {
    return this.#reader.read(request);
  }

  async places(): Promise<PartitionPlaces> {
    this.#state.assertUsable();
    const { startOffset: logStartOffset, endOffset, lastStableOffset, sizeBytes } = this.#state;
    return { logStartOffset, logEndOffset: endOffset, highWatermark: endOffset, lastStableOffset, sizeBytes };
  }

  offsetForTime(timestamp: number): Promise<TimedOffset | null> {
    return this.#reader.offsetForTime(timestamp);
  }

  async deleteBefore(offset: number): Promise<number> {
    this.#state.assertUsable();
    const { endOffset } = this.#state;
    if (offset > endOffset) {
      const what = `up to ${offset} of "${this.name}": ${endOffset} is committed`;
      throw new StorageError('STORAGE_OFFSET_OUT_OF_RANGE', `Cannot delete ${what}`);
    }
    await this.#alone(() => this.#deleteBefore(offset));
    return this.#state.startOffset;
  }

  onCommitted(listener: CommittedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // --- writing, called by the store ---

  /** The next run for the engine; null when there is nothing to write, or one is under way. */
  takeRun(): AppendRun | null {
    if (this.#isResent) return this.#takeAgain();
    if (this.#run !== null || this.#isTaskRunning || this.#tasks.length > 0 || this.#waiting.length === 0) return null;
    const run = this.#gather();
    if (run.bytes > 0) {
      this.#run = run;
      this.#isWriting = true;
      return run;
    }
    // Repetitions and refusals need no write.
    this.#answer(run);
    this.#next();
    return null;
  }

  handle(): EngineHandle {
    return this.#state.handle;
  }

  /** What became of the run. */
  settle(run: AppendRun, outcome: EngineOutcome | EngineFailedError): void {
    assert(run === this.#run, 'one run at a time');
    this.#isWriting = false;
    if (outcome === 'stored') this.#commit(run);
    else if (outcome === 'fenced') this.#fenced();
    else if (outcome === 'lost' || outcome === 'conflict' || isUnavailable(outcome)) {
      if (outcome === 'lost') run.isUncertain = true;
      void this.#recover(run);
    } else if (outcome instanceof StorageError) this.#refused(run, outcome);
    else {
      run.isUncertain = true;
      const failure = engineFailed(`use partition "${this.name}"`, outcome);
      this.fail(failure);
      // It had failed before, while the run was on its way.
      if (this.#run === run) this.#drop(run, failure);
      this.#next();
    }
  }

  /** Answers those who waited too long. */
  expire(nowMs: number): void {
    const before = nowMs - this.#host.limits.waitMsMax;
    const run = this.#run;
    if (run !== null && !run.isAnswered && run.since <= before) this.#giveUp(run);
    const late = this.#waiting.filter(({ since }) => since <= before);
    if (late.length === 0) return;
    this.#waiting = this.#waiting.filter(({ since }) => since > before);
    this.#refuseAll(late, new StorageError('STORAGE_UNAVAILABLE', `Cannot append to "${this.name}": ${this.#why()}`));
  }

  /** Refuses everything from now on, with `failure`. What was sent and has no answer is uncertain. */
  fail(failure: StorageError): void {
    if (this.#state.failure !== null) return;
    this.#state.failure = failure;
    const run = this.#run;
    if (run !== null && !this.#isWriting) this.#drop(run, failure);
    this.#refuseAll(this.#waiting.splice(0), failure);
  }

  // --- upkeep ---

  /** Takes a failed partition over again. Throws like `open`. */
  async reopen(): Promise<void> {
    await this.alone(async () => {
      if (this.#state.failure !== null) await this.#state.reopen();
    });
  }

  async change(settings: StreamSettings): Promise<void> {
    this.#state.assertUsable();
    await this.#alone(async () => {
      await this.#state.call('change', () => this.#host.engine.change(this.#state.handle, settings));
      this.#state.settings = settings;
    });
  }

  /** Applies retention, and forgets producers that were not heard of for long. */
  async upkeep(nowMs: number): Promise<void> {
    if (this.#state.failure !== null) return;
    this.#state.producers.expire(nowMs, this.#host.limits.producerExpiryMs);
    const { retentionBytes = null, retentionMs = null } = this.#state.settings;
    if (retentionBytes === null && retentionMs === null) return;
    await this.#alone(async () => this.#deleteBefore(await this.#state.retainedStart(nowMs)));
  }

  /** Waits until nothing is under way, and saves the producers. What fails is left: all of it is a help for the next opening. */
  async rest(): Promise<void> {
    this.#isResting = true;
    try {
      await this.#alone(async () => {
        if (this.#state.unsavedBytes > 0) await this.#state.saveProducers();
      });
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      // Not again before as much has come as is between two snapshots.
      this.#state.unsavedBytes = 0;
    } finally {
      this.#isResting = false;
    }
  }

  /** Runs when nothing else of this partition is under way, also when it failed; appends wait meanwhile. */
  alone(task: () => Promise<void>): Promise<void> {
    return this.#alone(task, true);
  }

  // --- runs ---

  #takeAgain(): AppendRun | null {
    this.#isResent = false;
    const run = this.#run;
    if (run?.isAnswered === false) {
      this.#isWriting = true;
      return run;
    }
    // It was given up, and what was told must stay true.
    run?.undo();
    this.#run = null;
    this.#next();
    return null;
  }

  #gather(): AppendRun {
    const run = new AppendRun(this.#state.endOffset, this.#state.producers);
    const { runBytesMax } = this.#host.engine;
    let count = 0;
    for (const append of this.#waiting) {
      if (run.bytes > 0 && run.bytes + append.bytes.length > runBytesMax) break;
      run.add(append);
      count += 1;
    }
    this.#waiting.splice(0, count);
    return run;
  }

  #commit(run: AppendRun): void {
    this.#run = null;
    this.#state.advance(run.endOffset, run.bytes);
    this.#answer(run);
    this.#committed();
    this.#next();
  }

  #refused(run: AppendRun, error: StorageError): void {
    if (!run.isUncertain) {
      this.#drop(run, error);
      this.#next();
      return;
    }
    // An earlier write of it was lost, and may be there all the same.
    this.#giveUp(run);
    void this.#recover(run);
  }

  /** Whoever waits for the run is told that it was not stored, or that nobody knows. Its outcome is still looked for. */
  #giveUp(run: AppendRun): void {
    const isUncertain = run.isUncertain || this.#isWriting;
    run.isUncertain = isUncertain;
    const code = isUncertain ? 'STORAGE_UNCERTAIN' : 'STORAGE_UNAVAILABLE';
    this.#answer(run, new StorageError(code, `Cannot append to "${this.name}": ${this.#why()}`));
  }

  /** The run is not stored, or this partition will never know. */
  #drop(run: AppendRun, error: StorageError): void {
    this.#run = null;
    this.#isResent = false;
    run.undo();
    const uncertain = `Cannot append to "${this.name}": a write was lost, and then: ${error.message}`;
    this.#answer(run, run.isUncertain ? new StorageError('STORAGE_UNCERTAIN', uncertain, { cause: error }) : error);
  }

  #fenced(): void {
    const message = `Cannot use partition "${this.name}": it has a newer writer, or was removed`;
    this.fail(new StorageError('STORAGE_LEADER_FENCED', message));
    this.#next();
  }

  /** Finds out what became of a run whose write was lost, or did not find its place. */
  async #recover(run: AppendRun): Promise<void> {
    while (this.#run === run && this.#state.failure === null) {
      try {
        if (await this.#resolve(run)) break;
      } catch (error) {
        if (!(error instanceof EngineLostError) && !isUnavailable(error)) {
          this.fail(asFailure(this.name, error));
          break;
        }
      }
      await this.#host.link.pause();
    }
    const { failure } = this.#state;
    if (this.#run === run && failure !== null) this.#drop(run, failure);
    this.#next();
  }

  /** Answers whether all is clear. */
  async #resolve(run: AppendRun): Promise<boolean> {
    const { engine, link } = this.#host;
    const places = await link.attempt(() => engine.places(this.#state.handle));
    if (this.#run !== run) return true;
    if (places === null) {
      this.#fenced();
    } else if (places.endOffset < run.baseOffset) {
      const state = `it ends at ${places.endOffset}, and ${run.baseOffset} was acknowledged`;
      this.fail(new StorageError('STORAGE_CORRUPTED', `Cannot use partition "${this.name}": ${state}`));
    } else if (places.endOffset === run.baseOffset) {
      if (run.isAnswered) {
        run.undo();
        this.#run = null;
      } else this.#isResent = true;
    } else await this.#takeIn(run, places.endOffset);
    return true;
  }

  /** Something is stored where the run was to be. */
  async #takeIn(run: AppendRun, endOffset: number): Promise<void> {
    const { bytes, endOffset: runEnd } = run.seal(this.#state.handle);
    const found: FoundBatch[] = [];
    const parts: Buffer[] = [];
    for (let offset = run.baseOffset; offset < endOffset; ) {
      const buffers = await this.#host.link.attempt(() =>
        this.#host.engine.read(this.#state.handle, offset, Math.max(stepBytes, bytes.length)),
      );
      if (this.#run !== run) return;
      for (const batch of checkedBatches(this.name, buffers, offset)) {
        const { header, at } = batch;
        if (header.leaderEpoch > this.#state.handle.writer) {
          this.#fenced();
          return;
        }
        found.push(batch);
        parts.push(batch.bytes.subarray(at, at + header.size));
        offset = header.lastOffset + 1;
      }
    }
    if (endOffset === runEnd && Buffer.concat(parts).equals(bytes)) {
      this.#commit(run);
      return;
    }
    run.undo();
    this.#run = null;
    for (const batch of found) this.#state.apply(batch);
    this.#state.advance(
      endOffset,
      parts.reduce((sum, part) => sum + part.length, 0),
    );
    if (!run.isAnswered) this.#waiting.unshift(...run.appends);
    this.#committed();
  }

  /** Goes on with tasks, and then with what waits. */
  #next(): void {
    if (this.#run === null && !this.#isTaskRunning) {
      const task = this.#tasks.shift();
      if (task !== undefined) {
        this.#isTaskRunning = true;
        void task();
        return;
      }
      if (this.#isSnapshotDue()) {
        void this.rest();
        return;
      }
    }
    if (this.#isResent || (this.#run === null && this.#waiting.length > 0)) this.#host.wake(this);
  }

  #isSnapshotDue(): boolean {
    const { unsavedBytes, failure } = this.#state;
    return unsavedBytes >= this.#host.limits.snapshotBytes && !this.#isResting && failure === null;
  }

  #answer(run: AppendRun, error: StorageError | null = null): void {
    if (run.isAnswered) return;
    for (const { bytes } of run.appends) this.#host.release(bytes.length);
    if (error === null) run.answer();
    else run.refuse(error);
  }

  #refuseAll(appends: readonly WaitingAppend[], error: StorageError): void {
    for (const { bytes } of appends) this.#host.release(bytes.length);
    queueMicrotask(() => {
      for (const { done } of appends) done(refusal(error));
    });
  }

  #committed(): void {
    for (const listener of [...this.#listeners]) listener(this.#state.endOffset);
  }

  #alone(task: () => Promise<void>, evenFailed = false): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tasks.push(async () => {
        try {
          if (!evenFailed) this.#state.assertUsable();
          await task();
          resolve();
        } catch (error) {
          reject(toError(error));
        } finally {
          this.#isTaskRunning = false;
          this.#next();
        }
      });
      this.#next();
    });
  }

  async #deleteBefore(offset: number): Promise<void> {
    if ((await this.#state.deleteBefore(offset)) === 'deleted') return;
    this.#fenced();
    this.#state.assertUsable();
  }

  #why(): string {
    const { state, reason } = this.#host.link.health;
    return state === 'ready' ? 'the engine is too slow' : reason;
  }
}

function asFailure(name: string, error: unknown): StorageError {
  if (error instanceof StorageError) {
    return error.code === 'STORAGE_CORRUPTED' ? error : corrupted(name, 0, error.message);
  }
  return engineFailed(`use partition "${name}"`, toError(error));
}
