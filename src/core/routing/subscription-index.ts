/**
 * Which subscriptions of this thread match a topic. One index per connection worker; the broker's router calls it.
 *
 * Filters without a wildcard are one `Map` entry each, whose value is the subscription itself while there is only one.
 * The others lie in a tree by levels. A match costs one `Map` look-up and, when there are wildcards, a walk that visits
 * only nodes that agree with the topic so far. Per exact filter: the `Map` entry (about 40 bytes) and the string. Per
 * wildcard filter: at most one node (64 bytes) and one `Map` entry for each level that it shares with no other.
 */
import { assert } from '../../std/assert.ts';
import { addChild, childOf, type LevelNode, ownedLevel, removeChild, splitLevels } from './level-tree.ts';
import { hasWildcard, isHiddenTopic } from './topic.ts';

/** From this size on a bucket knows the position of each subscription, so that removal stays O(1). */
const INDEXED_BUCKET_SIZE_MIN = 32;

/** Two or more subscriptions of one filter, in no order. */
class Bucket<S extends object> {
  readonly items: S[];
  private positions: Map<S, number> | undefined;

  constructor(first: S, second: S) {
    this.items = [first, second];
  }

  has(item: S): boolean {
    return this.positions === undefined ? this.items.includes(item) : this.positions.has(item);
  }

  add(item: S): void {
    const position = this.items.push(item) - 1;
    if (this.positions !== undefined) this.positions.set(item, position);
    else if (position >= INDEXED_BUCKET_SIZE_MIN) this.positions = new Map(this.items.map((each, at) => [each, at]));
  }

  remove(item: S): boolean {
    const { items } = this;
    const position = this.positions === undefined ? items.indexOf(item) : (this.positions.get(item) ?? -1);
    if (position === -1) return false;
    const moved = items[items.length - 1];
    items[position] = moved;
    items.pop();
    if (this.positions !== undefined) {
      // In this order: when the last one itself goes, its new position must not stay.
      this.positions.set(moved, position);
      this.positions.delete(item);
      // Half of the size at which it is built, so that a filter at the border does not build and drop it in turn.
      if (items.length < INDEXED_BUCKET_SIZE_MIN / 2) this.positions = undefined;
    }
    return true;
  }
}

/** The subscriptions of one filter; undefined when there is none. */
type Slot<S extends object> = S | Bucket<S> | undefined;

class WildcardNode<S extends object> implements LevelNode<WildcardNode<S>> {
  readonly name: string;
  children: WildcardNode<S> | Map<string, WildcardNode<S>> | undefined = undefined;
  /** The child for the level `+`. */
  plus: WildcardNode<S> | undefined = undefined;
  /** Subscriptions of the filter that ends here. */
  here: Slot<S> = undefined;
  /** Subscriptions of the filter that ends with `#` below here. */
  below: Slot<S> = undefined;

  constructor(name: string) {
    this.name = name;
  }

  get isEmpty(): boolean {
    return (
      this.children === undefined && this.plus === undefined && this.here === undefined && this.below === undefined
    );
  }
}

export class SubscriptionIndex<S extends object> {
  /** Distinct filters. */
  filterCount = 0;
  /** Pairs of filter and subscription. */
  subscriptionCount = 0;
  /** Moves at every change; what was derived from `match` at another epoch is stale. */
  epoch = 0;
  /** Nodes of the wildcard tree without its root; 0 when no wildcard filter is left. */
  nodeCount = 0;

  private readonly exact = new Map<string, S | Bucket<S>>();
  private readonly root = new WildcardNode<S>('');
  /** Used again by every call; no call runs inside another. */
  private readonly levels: string[] = [];
  private readonly path: WildcardNode<S>[] = [];
  private readonly depths: number[] = [];

  /**
   * Subscribes. `filter` is valid (see `filterError`). Adding a pair that is there changes nothing.
   * Returns true when this is the first subscription of the filter.
   */
  add(filter: string, subscription: S): boolean {
    assert(filter.length > 0, 'a filter is not empty');
    if (!hasWildcard(filter)) {
      const slot = this.exact.get(filter);
      const changed = this.slotAdd(slot, subscription);
      if (changed !== slot) this.exact.set(filter, changed);
      return slot === undefined;
    }
    const levelCount = splitLevels(filter, this.levels);
    const endsBelow = this.levels[levelCount - 1] === '#';
    const depth = endsBelow ? levelCount - 1 : levelCount;
    let node = this.root;
    for (let level = 0; level < depth; level++) node = this.stepOrGrow(node, this.levels[level]);
    this.levels.length = 0;
    const slot = endsBelow ? node.below : node.here;
    const changed = this.slotAdd(slot, subscription);
    if (endsBelow) node.below = changed;
    else node.here = changed;
    return slot === undefined;
  }

  /**
   * Unsubscribes and gives the memory back. Returns true when this was the last subscription of the filter, false when
   * others are left or the pair was not there.
   */
  remove(filter: string, subscription: S): boolean {
    if (!hasWildcard(filter)) {
      const slot = this.exact.get(filter);
      const changed = this.slotRemove(slot, subscription);
      if (changed === slot) return false;
      if (changed !== undefined) this.exact.set(filter, changed);
      else this.exact.delete(filter);
      return changed === undefined;
    }
    const path = this.path;
    const endsBelow = this.findPath(filter);
    const node = path[path.length - 1];
    const slot = endsBelow ? node?.below : node?.here;
    const changed = this.slotRemove(slot, subscription);
    if (changed !== slot) {
      if (endsBelow) node.below = changed;
      else node.here = changed;
      if (changed === undefined) this.prune(path);
    }
    path.length = 0;
    return changed !== slot && changed === undefined;
  }

  /** Appends the subscriptions of every filter that matches the valid `topic`, once per filter. */
  match(topic: string, into: S[]): void {
    const exact = this.exact.get(topic);
    if (exact !== undefined) append(exact, into);
    if (this.root.isEmpty) return;

    // A walk with its own stack: the depth of a topic never becomes depth of calls.
    const { levels, path, depths } = this;
    const levelCount = splitLevels(topic, levels);
    let node: WildcardNode<S> | undefined = this.root;
    let depth = 0;
    if (isHiddenTopic(topic)) {
      node = childOf(node, levels[0]);
      depth = 1;
    }
    while (node !== undefined) {
      if (node.below !== undefined) append(node.below, into);
      let next: WildcardNode<S> | undefined;
      if (depth < levelCount) {
        next = childOf(node, levels[depth]);
        if (node.plus !== undefined) {
          path.push(node.plus);
          depths.push(depth + 1);
        }
      } else if (node.here !== undefined) append(node.here, into);
      if (next !== undefined) depth++;
      else {
        next = path.pop();
        depth = depths.pop() ?? 0;
      }
      node = next;
    }
    levels.length = 0;
  }

  private stepOrGrow(node: WildcardNode<S>, level: string): WildcardNode<S> {
    const child = level === '+' ? node.plus : childOf(node, level);
    if (child !== undefined) return child;
    const grown = new WildcardNode<S>(ownedLevel(level));
    if (level === '+') node.plus = grown;
    else addChild(node, grown);
    this.nodeCount++;
    return grown;
  }

  /** Fills `path` with the nodes of a filter, root first, or leaves it empty; returns whether the filter ends with `#`. */
  private findPath(filter: string): boolean {
    const { path, levels } = this;
    const levelCount = splitLevels(filter, levels);
    const endsBelow = levels[levelCount - 1] === '#';
    const depth = endsBelow ? levelCount - 1 : levelCount;
    let node: WildcardNode<S> | undefined = this.root;
    path.push(node);
    for (let level = 0; level < depth && node !== undefined; level++) {
      node = levels[level] === '+' ? node.plus : childOf(node, levels[level]);
      if (node !== undefined) path.push(node);
      else path.length = 0;
    }
    levels.length = 0;
    return endsBelow;
  }

  /** Takes out the nodes at the end of `path` that hold nothing any more. */
  private prune(path: WildcardNode<S>[]): void {
    for (let at = path.length - 1; at > 0 && path[at].isEmpty; at--) {
      const node = path[at];
      const parent = path[at - 1];
      if (parent.plus === node) parent.plus = undefined;
      else removeChild(parent, node);
      this.nodeCount--;
    }
  }

  private slotAdd(slot: Slot<S>, subscription: S): S | Bucket<S> {
    if (slot === undefined) this.filterCount++;
    else if (slot === subscription || (slot instanceof Bucket && slot.has(subscription))) return slot;
    this.subscriptionCount++;
    this.epoch++;
    if (slot === undefined) return subscription;
    if (!(slot instanceof Bucket)) return new Bucket<S>(slot, subscription);
    slot.add(subscription);
    return slot;
  }

  /** Returns the slot without `subscription`: the same object means that nothing is to be stored. */
  private slotRemove(slot: Slot<S>, subscription: S): Slot<S> {
    if (slot === undefined) return slot;
    let rest: Slot<S>;
    if (slot instanceof Bucket) {
      if (!slot.remove(subscription)) return slot;
      rest = slot.items.length > 1 ? slot : slot.items[0];
    } else if (slot !== subscription) return slot;
    if (rest === undefined) this.filterCount--;
    this.subscriptionCount--;
    this.epoch++;
    return rest;
  }
}

function append<S extends object>(slot: S | Bucket<S>, into: S[]): void {
  if (!(slot instanceof Bucket)) {
    into.push(slot);
    return;
  }
  const { items } = slot;
  for (let at = 0; at < items.length; at++) into.push(items[at]);
}
