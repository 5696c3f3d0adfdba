/** What the benchmark and its lagging consumer say to each other. Both threads. Types only. */
import type { FilePlan } from '../../core/ports/read-plan.ts';

/** Begin at the first offset. */
export interface StartConsumer {
  readonly type: 'start';
  /** No faster than this. */
  readonly bytesPerS: number;
  /** What is read at once. */
  readonly pieceBytes: number;
}

export type ToConsumer =
  | StartConsumer
  | { readonly type: 'plan'; readonly plan: FilePlan | null }
  | { readonly type: 'stop' };

export type FromConsumer =
  | { readonly type: 'locate'; readonly offset: number }
  | { readonly type: 'stopped'; readonly bytes: number; readonly error: string | null };
