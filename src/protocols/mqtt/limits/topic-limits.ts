/**
 * The limits of names, `mqtt.topicBytesMax` and `mqtt.topicLevelsMax`: of topics of publications and wills, and of filters.
 * They only narrow what the core allows. Pure; thread: the connection's worker.
 */
import type { Route } from '../../../core/broker/route.ts';
import { TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX } from '../../../core/routing/topic.ts';
import type { LimitKind } from '../../../observability/limit-metrics.ts';

const slash = 0x2f;

export class TopicLimits {
  private readonly bytesMax: number;
  private readonly levelsMax: number;
  /** False: they are as wide as the core's, and no publication is looked at. */
  readonly isNarrow: boolean;
  /** Routes that passed; a route lives as long as its topic is in use. */
  private readonly passed = new WeakSet<Route>();

  constructor({ topicBytesMax, topicLevelsMax }: { readonly topicBytesMax: number; readonly topicLevelsMax: number }) {
    this.bytesMax = topicBytesMax;
    this.levelsMax = topicLevelsMax;
    this.isNarrow = topicBytesMax < TOPIC_BYTES_MAX || topicLevelsMax < TOPIC_LEVELS_MAX;
  }

  /** The limit that a topic or a filter is beyond, or null. */
  beyond(name: string): LimitKind | null {
    if (!this.isNarrow) return null;
    // A UTF-16 code unit takes at most three bytes.
    if (name.length * 3 > this.bytesMax && Buffer.byteLength(name) > this.bytesMax) return 'topic-bytes';
    return this.hasTooManyLevels(name) ? 'topic-levels' : null;
  }

  /** The same of a publication; a topic is looked at once. */
  beyondOnRoute(route: Route): LimitKind | null {
    if (this.passed.has(route)) return null;
    const limit = this.beyond(route.name);
    if (limit === null) this.passed.add(route);
    return limit;
  }

  private hasTooManyLevels(name: string): boolean {
    let levels = 1;
    for (let at = 0; at < name.length; at++)
      if (name.charCodeAt(at) === slash && ++levels > this.levelsMax) return true;
    return false;
  }
}
