/**
 * The connection worker's half of the port to the whole node (`core/ports/node.ts`); `main/node/node-hub.ts` is the other half.
 * Lives on a connection worker; the worker runtime feeds it with the messages of the main thread.
 */
import type { AlarmChange } from '../../core/ports/alarms.ts';
import type { NodeCounter, NodeFacts, NodeView } from '../../core/ports/node.ts';
import type { MetricLabels, MetricsLayout } from '../../observability/metrics.ts';
import { NodeCounters } from '../../observability/node-counters.ts';
import { CounterBlock } from '../../shm/counters.ts';
import { assert } from '../../std/assert.ts';
import type { NodeToMain, NodeToWorker } from '../node-messages.ts';

/** What a worker is told of the node when it starts. */
export interface NodeStart {
  readonly version: string;
  /** Unix time, ms. */
  readonly startedAtMs: number;
  /** Blocks of all connection workers, by index. */
  readonly counters: readonly SharedArrayBuffer[];
}

export class WorkerNode implements NodeView {
  readonly version: string;
  readonly startedAtMs: number;
  facts: NodeFacts = { name: '', nodes: [], ports: [] };
  private readonly counters: NodeCounters;
  private readonly post: (message: NodeToMain) => void;
  private readonly alarmHandlers: ((change: AlarmChange) => void)[] = [];
  private readonly questions = new Map<string, (request: unknown) => unknown>();

  constructor(start: NodeStart, layout: MetricsLayout, post: (message: NodeToMain) => void) {
    this.version = start.version;
    this.startedAtMs = start.startedAtMs;
    this.counters = new NodeCounters(
      layout,
      start.counters.map((buffer) => new CounterBlock(buffer)),
    );
    this.post = post;
  }

  counter(name: string, labels?: MetricLabels): NodeCounter {
    return this.counters.counter(name, labels);
  }

  onAlarm(handler: (change: AlarmChange) => void): void {
    this.alarmHandlers.push(handler);
  }

  onQuestion(subject: string, handler: (request: unknown) => unknown): void {
    assert(!this.questions.has(subject), `one handler per subject: ${subject}`);
    this.questions.set(subject, handler);
  }

  handle(message: NodeToWorker): void {
    switch (message.type) {
      case 'node-facts':
        this.facts = message.facts;
        break;
      case 'alarm-change':
        for (const handler of this.alarmHandlers) handler(message.change);
        break;
      case 'question':
        // Null: nobody here knows anything of it.
        this.post({
          type: 'answer',
          id: message.id,
          answer: this.questions.get(message.subject)?.(message.request) ?? null,
        });
    }
  }
}
