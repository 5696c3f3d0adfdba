/** What the log of retained values needs of whoever holds them. Thread: one connection worker. */
import type { RetainedValue } from './retained-value.ts';

/** The values, as their log needs them. */
export interface RetainedSource {
  /** The value of the topic, an expired one too. */
  stored(topic: string): RetainedValue | undefined;
  /** Of the newest change of this topic that is known; -1 when none is. */
  stampOf(topic: string): number;
  /** All values, in an order that changes do not disturb. */
  all(): Iterable<[string, RetainedValue]>;
  /** Topics whose value was removed lately, with the stamp of that. */
  lately(): Iterable<[string, number]>;
  /** Sees every change that other workers had made when it was called. */
  catchUp(): void;
  /** A change was read from the log. */
  load(topic: string, value: RetainedValue): void;
  loadRemoval(topic: string, stamp: number, atMs: number): void;
}
