/**
 * Takes what is published on this worker for the remote broker of one bridge, and stores it: messages of QoS 1 and 2, and QoS 0 where the
 * settings say so. Thread: each connection worker has one for each bridge that stores; only the publisher's worker stores a message.
 */
import type { Run } from '../../../core/broker/run.ts';
import { matches } from '../../../core/routing/topic.ts';
import { frameLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import type { BridgeCounters } from './bridge-metrics.ts';
import { captureMessage, remoteTopics } from './captured-message.ts';
import { readProperties } from './message-properties.ts';
import type { BridgeRule } from './settings.ts';
import { encodeStored } from './stored-record.ts';
import type { StoredDone, StoredWriter } from './stored-writer.ts';
import { mayHaveVia, passageOf } from './via.ts';

export interface OutgoingTapOptions {
  readonly clientId: string;
  readonly rules: readonly BridgeRule[];
  readonly hopsMax: number;
  readonly keepsQos0: boolean;
  readonly writer: StoredWriter;
  readonly counters: BridgeCounters;
}

/** Whether a bridge stores anything at all. */
export function storesSomething(rules: readonly BridgeRule[], keepsQos0: boolean): boolean {
  return rules.some(({ qos }) => qos > 0) || (keepsQos0 && rules.length > 0);
}

export class OutgoingTap {
  readonly #options: OutgoingTapOptions;
  readonly #view = new PublishView();

  constructor(options: OutgoingTapOptions) {
    this.#options = options;
  }

  /** False: hold the publisher back until `whenRoom` calls. */
  get hasRoom(): boolean {
    return this.#options.writer.hasRoom;
  }

  whenRoom(callback: () => void): void {
    this.#options.writer.whenRoom(callback);
  }

  /**
   * Stores the publications of a run, whose bytes are only needed during the call. Answers how many times `done` will be told, not inside
   * of the call; `done` null: nobody waits.
   */
  copy(run: Run, done: StoredDone | null): number {
    const view = this.#view;
    const { rules, counters, writer } = this.#options;
    const topics = remoteTopics(
      run.topic,
      rules.filter(({ filter }) => matches(filter, run.topic)),
    );
    let count = 0;
    for (let position = run.start; position < run.end; ) {
      const next = position + frameLength(run.buffer, position, run.end);
      decodePublish(run.buffer, position, next, run.layout, view);
      position = next;
      const waits = view.qos > 0 ? done : null;
      if (waits === null && view.qos === 0 && this.#options.keepsQos0 && !writer.hasRoom) {
        counters.dropped('out', 'not-stored');
        continue;
      }
      count += this.#store(run.buffer, topics, waits);
    }
    if (topics.size === 0) counters.dropped('out', 'unmapped', run.count);
    return count;
  }

  #store(buffer: Buffer, topics: ReadonlyMap<string, 0 | 1 | 2>, done: StoredDone | null): number {
    const { keepsQos0, writer, counters, clientId, hopsMax } = this.#options;
    const nowMs = Date.now();
    let count = 0;
    for (const [topic, qosMax] of topics) {
      const message = captureMessage(buffer, this.#view, topic, qosMax, nowMs);
      // Those go to the remote broker at once, or not at all.
      if (message.qos === 0 && !keepsQos0) continue;
      const isLoop =
        mayHaveVia(message.properties) &&
        passageOf(readProperties(message.properties).userProperties, clientId, hopsMax) !== 'new';
      if (isLoop) {
        counters.dropped('out', 'loop');
        continue;
      }
      writer.add(encodeStored(message, nowMs), done);
      if (done !== null) count += 1;
    }
    return count;
  }
}
