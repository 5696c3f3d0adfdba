/** What the benchmark and its lagging consumer say to each other. Both threads. Types only. */
import type { FilePlan } from '../../core/ports/read-plan.ts';

/** What the consumer's thread is given. */
export interface ConsumerData {
  /** See `cold-pace.ts`. */
  readonly coldPace: SharedArrayBuffer;
  readonly line: number;
}

export type ToConsumer =
  /** Begin at the first offset. */
  | { readonly type: 'start' }
  /** Null: there is nothing more to read. */
  | { readonly type: 'plan'; readonly plan: FilePlan | null }
  | { readonly type: 'stop' };

export type FromConsumer =
  | { readonly type: 'locate'; readonly offset: number }
  | { readonly type: 'stopped'; readonly bytes: number; readonly error: string | null };
