/** The nodes of the tree of retained values, for the store and for those who walk over it. Thread: the store's owner. */
import type { LevelNode } from '../routing/level-tree.ts';

/** One level of the tree. */
export class RetainedNode<V> implements LevelNode<RetainedNode<V>> {
  readonly name: string;
  readonly parent: RetainedNode<V> | undefined;
  /** Counts the nodes that were made: those of one parent lie in this order. */
  readonly ordinal: number;
  children: RetainedNode<V> | Map<string, RetainedNode<V>> | undefined = undefined;
  entry: RetainedEntry<V> | undefined = undefined;

  constructor(name: string, parent: RetainedNode<V> | undefined, ordinal: number) {
    this.name = name;
    this.parent = parent;
    this.ordinal = ordinal;
  }
}

export interface RetainedEntry<V> {
  readonly topic: string;
  readonly node: RetainedNode<V>;
  value: V;
  bytes: number;
}
