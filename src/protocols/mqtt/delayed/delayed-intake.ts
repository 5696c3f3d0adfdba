/**
 * Has delayed publications stored. Loaded with the first one on a worker. Thread: the connection worker of the publisher.
 */
import type { Run } from '../../../core/broker/run.ts';
import type { Identity } from '../../../core/ports/access.ts';
import type { BrokerServices } from '../../../core/ports/services.ts';
import type { StreamStore } from '../../../core/ports/stream-store.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { frameLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { isCodeOf, reasonCodeOf } from '../streams/storage-codes.ts';
import { duePartition, recordOfDelayed } from './due-message.ts';
import { openOrCreate } from './open-or-create.ts';

export interface DelayedIntakeOptions {
  readonly store: StreamStore;
  readonly services: BrokerServices;
  readonly log: Logger;
  /** The stream of what is due is there: somebody is to read it. */
  onOpened(): void;
}

/** Publications of one client to one topic. */
export interface DelayedRun {
  /** Owns its bytes. */
  readonly run: Run;
  readonly topicBytes: Buffer;
  readonly identity: Identity;
  readonly nowMs: number;
  readonly dueMs: number;
}

export class DelayedIntake {
  private readonly options: DelayedIntakeOptions;
  private readonly view = new PublishView();
  private opened: Promise<void> | null = null;

  constructor(options: DelayedIntakeOptions) {
    this.options = options;
  }

  /** Answers 0 when all of them are durable, or the reason code of the first that is not. Never rejects. */
  async accept(delayed: DelayedRun): Promise<number> {
    try {
      this.opened ??= this.open();
      await this.opened;
      await this.store(delayed);
      return 0;
    } catch (thrown) {
      // It is opened again: the stream may have been removed.
      this.opened = null;
      const { message } = toError(thrown);
      this.options.log.warn('Cannot store a delayed publication', { reason: message });
      return isCodeOf(thrown, 'STORAGE_PARTITION_UNKNOWN') ? reasonCodeOf(null) : reasonCodeOf(thrown);
    }
  }

  /** All of them in one turn, so that they are one batch. */
  private async store({ run, topicBytes, identity, nowMs, dueMs }: DelayedRun): Promise<void> {
    const { view } = this;
    const { delayed } = this.options.services;
    const accepted: Promise<unknown>[] = [];
    for (let position = run.start; position < run.end; ) {
      const next = position + frameLength(run.buffer, position, run.end);
      decodePublish(run.buffer, position, next, run.layout, view);
      const record = recordOfDelayed(run.buffer, view, topicBytes, identity, nowMs, dueMs);
      accepted.push(delayed.acceptAt(dueMs, { target: duePartition, record }));
      position = next;
    }
    for (const outcome of await Promise.allSettled(accepted)) if (outcome.status === 'rejected') throw outcome.reason;
  }

  private async open(): Promise<void> {
    await openOrCreate(this.options.store, duePartition);
    this.options.onOpened();
  }
}
