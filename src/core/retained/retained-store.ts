/**
 * The last value of each topic that asked to be kept, bounded in count and bytes. Lives on the thread that owns the
 * retained values; the broker's router calls it at a retained publish and at a new subscription.
 *
 * A `Map` answers for one topic; a tree by levels answers for a filter with wildcards, so that a filter costs what it
 * can match and not what is stored. Deleting gives the nodes back.
 */
import { assert } from '../../std/assert.ts';
import { addChild, childOf, forEachChild, ownedLevel, removeChild, splitLevels } from '../routing/level-tree.ts';
import { hasWildcard, isHiddenTopic } from '../routing/topic.ts';
import { type RetainedEntry, RetainedNode } from './retained-node.ts';
import { RetainedWalk } from './retained-walk.ts';

export interface RetainedLimits {
  /** Topics that hold a value. */
  readonly countMax: number;
  /** Sum of the `bytes` of all values. */
  readonly bytesMax: number;
}

export class RetainedStore<V> {
  /** Sum of the `bytes` of all values. */
  bytes = 0;
  /** Nodes of the tree without its root; 0 when nothing is stored. */
  nodeCount = 0;
  private readonly limits: RetainedLimits;
  private readonly entries = new Map<string, RetainedEntry<V>>();
  private readonly root = new RetainedNode<V>('', undefined, 0);
  private latestOrdinal = 0;
  private readonly levels: string[] = [];

  constructor(limits: RetainedLimits) {
    this.limits = limits;
  }

  /** Topics that hold a value. */
  get count(): number {
    return this.entries.size;
  }

  /**
   * Keeps `value` for the valid `topic`; `bytes` is what it counts for. Returns false, and leaves what was there, when
   * a limit refuses. Replacing is never refused because of the count.
   */
  set(topic: string, value: V, bytes: number): boolean {
    assert(bytes >= 0, 'the size of a retained value is not negative');
    const present = this.entries.get(topic);
    if (this.bytes - (present?.bytes ?? 0) + bytes > this.limits.bytesMax) return false;
    if (present !== undefined) {
      this.bytes += bytes - present.bytes;
      present.value = value;
      present.bytes = bytes;
      return true;
    }
    if (this.entries.size >= this.limits.countMax) return false;
    const node = this.grow(topic);
    node.entry = { topic, node, value, bytes };
    this.entries.set(topic, node.entry);
    this.bytes += bytes;
    return true;
  }

  get(topic: string): V | undefined {
    return this.entries.get(topic)?.value;
  }

  /** All topics with their values, in the order in which the topics came. May be walked over while they change. */
  *all(): Generator<[string, V]> {
    for (const { topic, value } of this.entries.values()) yield [topic, value];
  }

  /** A walk over the topics that the valid `filter` matches, which may pause and go on while topics change. */
  walk(filter: string): RetainedWalk<V> {
    return new RetainedWalk(this.root, this.latestOrdinal, filter);
  }

  /** Returns whether there was a value. */
  delete(topic: string): boolean {
    const entry = this.entries.get(topic);
    if (entry === undefined) return false;
    this.entries.delete(topic);
    this.bytes -= entry.bytes;
    let node = entry.node;
    node.entry = undefined;
    while (node.parent !== undefined && node.children === undefined && node.entry === undefined) {
      removeChild(node.parent, node);
      this.nodeCount--;
      node = node.parent;
    }
    return true;
  }

  /**
   * Calls `visit` for every topic that the valid `filter` matches, in no order. `visit` may delete or replace any topic;
   * one that it adds may be visited or not.
   */
  match(filter: string, visit: (topic: string, value: V) => void): void {
    if (hasWildcard(filter)) this.visit(filter.split('/'), visit);
    else {
      const entry = this.entries.get(filter);
      if (entry !== undefined) visit(entry.topic, entry.value);
    }
  }

  private visit(filter: readonly string[], visit: (topic: string, value: V) => void): void {
    const endsBelow = filter[filter.length - 1] === '#';
    const depth = endsBelow ? filter.length - 1 : filter.length;
    // Its own stack instead of calls. Children are pushed before the entry is visited, and a node that a visit cut off
    // the tree meanwhile has neither entry nor children, so that visits may change the store.
    const nodes: RetainedNode<V>[] = [];
    const depths: number[] = [];
    let childDepth = 0;
    const push = (node: RetainedNode<V>): void => {
      nodes.push(node);
      depths.push(childDepth);
    };
    const pushVisible = (node: RetainedNode<V>): void => {
      if (!isHiddenTopic(node.name)) push(node);
    };
    push(this.root);
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      const at = depths.pop() as number;
      childDepth = Math.min(at + 1, depth);
      if (at < depth && filter[at] !== '+') {
        const child = childOf(node, filter[at]);
        if (child !== undefined) push(child);
        continue;
      }
      if (at < depth || endsBelow) forEachChild(node, node === this.root ? pushVisible : push);
      if (at === depth && node.entry !== undefined) visit(node.entry.topic, node.entry.value);
    }
  }

  private grow(topic: string): RetainedNode<V> {
    const { levels } = this;
    const levelCount = splitLevels(topic, levels);
    let node = this.root;
    for (let level = 0; level < levelCount; level++) {
      let child = childOf(node, levels[level]);
      if (child === undefined) {
        child = new RetainedNode<V>(ownedLevel(levels[level]), node, ++this.latestOrdinal);
        addChild(node, child);
        this.nodeCount++;
      }
      node = child;
    }
    levels.length = 0;
    return node;
  }
}
