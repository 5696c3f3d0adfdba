/** What callers may say about one call. Any thread; shared by the parts of the client. */
import { Consistency } from '../generated/ringmq/placement/v1/common.ts';

export interface CallOptions {
  readonly timeoutMs?: number;
}

export interface ReadOptions extends CallOptions {
  /** 'linearizable' when left out: sees every write that was acknowledged before. 'serializable' may be behind. */
  readonly consistency?: 'linearizable' | 'serializable';
}

export function toConsistency(name: ReadOptions['consistency']): Consistency {
  return name === 'serializable' ? Consistency.SERIALIZABLE : Consistency.LINEARIZABLE;
}

/** A field that the server always sets. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('Cannot read answer: a field is missing');
  return value;
}
