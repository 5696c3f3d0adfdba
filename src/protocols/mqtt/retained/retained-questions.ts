/**
 * Answers what an administrator asks about retained messages: lists them page by page, shows one, removes one. Every worker has all of
 * them, so that one answers for the node: worker 0. Thread: connection workers.
 *
 * A page costs a bounded number of steps of a walk, which waits for the next page in a table; the oldest walk makes room for a new one.
 */
import { randomUUID } from 'node:crypto';
import type { RetainedSelection } from '../../../core/broker/retained-replica.ts';
import type { Router } from '../../../core/broker/router.ts';
import { Run } from '../../../core/broker/run.ts';
import type { NodeView } from '../../../core/ports/node.ts';
import { frameOf, type RetainedValue } from '../../../core/retained/retained-value.ts';
import { plainName } from '../../../core/tenants/tenant-names.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';

/** Stretches of a walk for one answer, some hundred nodes each: a few milliseconds at the most. */
const stretchesMax = 40;
/** Walks that wait for their next page. */
const walksMax = 16;

/** As the administration API sends it, which has checked it: with the tenant in the name. */
type Question =
  | { readonly type: 'list'; readonly filter: string; readonly limit: number; readonly cursor: string | null }
  | { readonly type: 'get' | 'delete'; readonly topic: string };

interface Shown {
  readonly topic: string;
  readonly qos: number;
  readonly payloadBytes: number;
  readonly storedAtMs: number;
  /** Unix time, ms; null for never. */
  readonly expiresAtMs: number | null;
  readonly tenant: string;
}

export function answerRetainedQuestions(workerIndex: number, router: Router, node: NodeView): void {
  const questions = new RetainedQuestions(router);
  node.onQuestion('retained', (request) => (workerIndex === 0 ? questions.answer(request as Question) : null));
}

class RetainedQuestions {
  private readonly router: Router;
  private readonly walks = new Map<string, RetainedSelection>();
  private readonly view = new PublishView();

  constructor(router: Router) {
    this.router = router;
  }

  answer(question: Question): unknown {
    const { retained } = this.router;
    if (!retained.isLoaded) return { type: 'loading' };
    if (question.type === 'list') return this.list(question.filter, question.limit, question.cursor);
    const { topic } = question;
    retained.catchUp();
    const value = retained.get(topic);
    if (value === undefined) return { type: 'unknown' };
    if (question.type === 'delete') return { type: this.remove(topic) ? 'deleted' : 'busy' };
    const { payload } = this.payloadOf(value);
    return { type: 'value', value: this.shown(topic, value), payload: payload.toString('base64') };
  }

  private list(filter: string, limit: number, cursor: string | null): unknown {
    const walk = cursor === null ? this.router.retained.walk(filter) : this.walks.get(cursor);
    if (walk === undefined) return { type: 'stale' };
    if (cursor !== null) this.walks.delete(cursor);
    const values: Shown[] = [];
    const nowMs = Date.now();
    for (let stretches = 0; stretches < stretchesMax && values.length < limit; ) {
      const entry = walk.next(nowMs);
      if (entry === undefined) return { type: 'page', values, cursor: null };
      if (entry === null) stretches++;
      else values.push(this.shown(entry.topic, entry.value));
    }
    return { type: 'page', values, cursor: this.park(walk) };
  }

  private park(walk: RetainedSelection): string {
    for (const oldest of this.walks.keys()) {
      if (this.walks.size < walksMax) break;
      this.walks.delete(oldest);
    }
    const cursor = randomUUID();
    this.walks.set(cursor, walk);
    return cursor;
  }

  private shown(topic: string, value: RetainedValue): Shown {
    const { detailA, storedAtMs, expiresAtS, tenant } = value;
    const expiresAtMs = expiresAtS === 0 ? null : expiresAtS * 1000;
    const payloadBytes = this.payloadOf(value).payload.length;
    return { topic: plainName(topic), qos: (detailA >> 1) & 3, payloadBytes, storedAtMs, expiresAtMs, tenant };
  }

  private payloadOf(value: RetainedValue): { readonly payload: Buffer } {
    const { view } = this;
    const frame = frameOf(value);
    decodePublish(frame, 0, frame.length, value.layout === 5 ? 5 : 4, view);
    return { payload: frame.subarray(view.payloadStart, view.payloadStart + view.payloadLength) };
  }

  /** False when other workers have to catch up first. */
  private remove(topic: string): boolean {
    const topicBytes = Buffer.from(topic);
    const route = this.router.innerRouteOf(topicBytes, 0, topicBytes.length);
    return route !== null && this.router.retain(route, new Run(), true, 0);
  }
}
