/**
 * Copies publications into streams by the bindings of the settings, beside their delivery. Thread: one per connection worker, that of the
 * publisher; a publication is copied there and nowhere else. Which bindings a topic has is decided once for each route and kept on it.
 *
 * Cost for a topic with a binding, per publication: an object and the copy into the batch; per run: the headers. For other topics: nothing.
 */
import type { Route } from '../../../core/broker/route.ts';
import type { Run } from '../../../core/broker/run.ts';
import type { ControlPlane } from '../../../core/ports/control-plane.ts';
import type { PacedStore } from '../../../core/ports/stream-store.ts';
import { matches } from '../../../core/routing/topic.ts';
import { tenantPrefixLength } from '../../../core/tenants/tenant-names.ts';
import type { Logger } from '../../../observability/log.ts';
import { assert } from '../../../std/assert.ts';
import { frameLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { headersOfPublication, type Publisher } from './message-record.ts';
import { compileKey, isKeyOfRun, type RecordKey } from './record-key.ts';
import type { BindingSetting } from './settings.ts';
import { reasonCodeOf } from './storage-codes.ts';
import type { StreamMetrics } from './stream-metrics.ts';
import { CopyReceipt, StreamWriter } from './stream-writer.ts';

const missingChannel = 'mqtt.bindings.missing';

interface Binding {
  readonly filter: string;
  readonly key: RecordKey;
  readonly isKeyOfRun: boolean;
  readonly qosMin: number;
  readonly namesPublisher: boolean;
  readonly writer: StreamWriter;
}

/** Somebody else who copies publications, and whom a publisher waits for like for a binding: a bridge. */
export interface CopyTap {
  /** Asked once for each route; the answer never changes. */
  wants(topic: string): boolean;
  readonly hasRoom: boolean;
  /** Called once, in a later turn. */
  whenRoom(callback: () => void): void;
  /**
   * Copies a run, whose bytes are only needed during the call. Answers how many times `done` will be told, not inside of the call. `done`
   * null: nobody waits.
   */
  copy(run: Run, done: ((error: Error | null) => void) | null): number;
}

/** What copies the publications of one topic. */
export interface BoundTopic {
  readonly bindings: readonly Binding[];
  readonly taps: readonly CopyTap[];
}

/** Publisher of the run, for keys and headers; null for the broker itself. */
export type RunPublisher = Publisher | null;

export interface BindingsOptions {
  readonly bindings: readonly BindingSetting[];
  readonly taps?: readonly CopyTap[];
  readonly workerIndex: number;
  readonly store: PacedStore;
  readonly control: ControlPlane;
  readonly metrics: StreamMetrics;
  readonly log: Logger;
}

export class Bindings {
  private readonly bindings: readonly Binding[];
  private readonly taps: readonly CopyTap[];
  private readonly writers = new Map<string, StreamWriter>();
  private readonly metrics: StreamMetrics;
  private readonly view = new PublishView();

  constructor(options: BindingsOptions) {
    this.metrics = options.metrics;
    this.taps = options.taps ?? [];
    this.bindings = options.bindings.map((setting) => this.make(setting, options));
    // Everybody hears it, and worker 0 makes what is missing.
    options.control.onBroadcast(missingChannel, (_, name) => {
      if (options.workerIndex === 0) this.writers.get(String(name))?.look();
    });
  }

  /** Null when nothing is copied. The answer holds as long as the worker lives: bindings do not change. */
  of(route: Route): BoundTopic | null {
    if (route.copies !== undefined) return route.copies as BoundTopic | null;
    const bound = this.boundTo(route.topic);
    route.copies = bound;
    return bound;
  }

  /** The same for a topic that is rarely published to. */
  boundTo(topic: string): BoundTopic | null {
    // Streams belong to the default tenant.
    if (tenantPrefixLength(topic) > 0) return null;
    const bindings = this.bindings.filter(({ filter }) => matches(filter, topic));
    const taps = this.taps.filter((tap) => tap.wants(topic));
    return bindings.length + taps.length === 0 ? null : { bindings, taps };
  }

  /** False: hold the publisher back until `whenRoom` calls. What is published with QoS 0 never waits. */
  hasRoom({ bindings, taps }: BoundTopic): boolean {
    for (const { writer } of bindings) if (!writer.hasRoom) return false;
    for (const tap of taps) if (!tap.hasRoom) return false;
    return true;
  }

  whenRoom({ bindings, taps }: BoundTopic, callback: () => void): void {
    const full = bindings.find(({ writer }) => !writer.hasRoom)?.writer ?? taps.find(({ hasRoom }) => !hasRoom);
    if (full === undefined) setImmediate(callback);
    else full.whenRoom(callback);
  }

  /**
   * Copies the publications of a run, whose bytes are only needed during the call. `done` is told, not inside of the call, when all copies are
   * durable (0), or why one is not. Answers false when there is nothing to wait for, and `done` is not called then.
   */
  copy(bound: BoundTopic, run: Run, publisher: RunPublisher, done: ((reasonCode: number) => void) | null): boolean {
    const { view } = this;
    const firstEnd = run.start + frameLength(run.buffer, run.start, run.end);
    decodePublish(run.buffer, run.start, firstEnd, run.layout, view);
    const { qos } = view;
    const receipt = qos > 0 && done !== null ? new CopyReceipt(done) : null;
    // So that no batch that is answered early tells it before all of them are there.
    if (receipt !== null) receipt.left = 1;
    let isWaiting = false;
    for (const binding of bound.bindings) {
      if (qos < binding.qosMin) continue;
      if (qos === 0 && !binding.writer.hasRoom) {
        this.metrics.countBound('dropped', run.count);
        continue;
      }
      this.copyTo(binding, run, firstEnd, publisher, receipt);
      isWaiting = true;
    }
    for (const tap of bound.taps) {
      const told = receipt === null ? null : (error: Error | null) => receipt.finish(tapCode(error));
      const count = tap.copy(run, told);
      if (receipt !== null) receipt.left += count;
      if (count > 0) isWaiting = true;
    }
    if (receipt === null || !isWaiting) return false;
    queueMicrotask(() => receipt.finish(0));
    return true;
  }

  close(): void {
    for (const writer of this.writers.values()) writer.close();
  }

  private copyTo(
    binding: Binding,
    run: Run,
    firstEnd: number,
    publisher: RunPublisher,
    receipt: CopyReceipt | null,
  ): void {
    const { view } = this;
    const { buffer, topicBytes } = run;
    const timestampMs = Date.now();
    const source = {
      topicBytes,
      clientId: publisher?.clientId ?? null,
      user: publisher?.user ?? null,
      buffer,
      view,
    };
    decodePublish(buffer, run.start, firstEnd, run.layout, view);
    const named = binding.namesPublisher ? publisher : null;
    const headers = headersOfPublication(buffer, view, topicBytes, named, timestampMs);
    let key = binding.isKeyOfRun ? binding.key(source) : null;
    for (let position = run.start; position < run.end; ) {
      const next = position + frameLength(buffer, position, run.end);
      decodePublish(buffer, position, next, run.layout, view);
      if (!binding.isKeyOfRun) key = binding.key(source);
      const value = buffer.subarray(view.payloadStart, view.payloadStart + view.payloadLength);
      // Without a key those of one topic stay in order.
      binding.writer.add({ timestampMs, key, value, headers }, key ?? topicBytes, receipt);
      position = next;
    }
  }

  private make(setting: BindingSetting, options: BindingsOptions): Binding {
    const { filter, key: text, qosMin, publisher: namesPublisher } = setting;
    const key = compileKey(text);
    assert(key !== null, 'the settings were checked');
    return {
      filter,
      key,
      isKeyOfRun: isKeyOfRun(text),
      qosMin,
      namesPublisher,
      writer: this.writerOf(setting, options),
    };
  }

  private writerOf(setting: BindingSetting, options: BindingsOptions): StreamWriter {
    const { workerIndex, store, log, control } = options;
    const { stream: name, partitions, retentionMs, retentionBytes } = setting;
    const known = this.writers.get(name);
    if (known !== undefined) return known;
    const writer = new StreamWriter({
      ...{ name, partitions, store, log },
      settings: {
        retentionMs: retentionMs === 0 ? null : retentionMs,
        retentionBytes: retentionBytes === 0 ? null : retentionBytes,
      },
      isMaker: workerIndex === 0,
      onMissing: () => control.broadcast(missingChannel, name, () => undefined),
      onAnswer: (reasonCode, count) => this.metrics.countBound(reasonCode === 0 ? 'stored' : 'failed', count),
    });
    this.writers.set(name, writer);
    return writer;
  }
}

function tapCode(error: Error | null): number {
  return error === null ? 0 : reasonCodeOf(error);
}
