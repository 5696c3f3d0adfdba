/**
 * A walk over the retained values that a filter matches, which pauses whenever its caller wants and goes on while values come and
 * go. Thread: the owner of the store; a subscriber that is sent many values has one.
 */
import { childOf } from '../routing/level-tree.ts';
import { isHiddenTopic } from '../routing/topic.ts';
import type { RetainedEntry, RetainedNode } from './retained-node.ts';

/** What a walk is about to do at a node. */
interface Frame<V> {
  readonly node: RetainedNode<V>;
  /** Children that are still to be visited; a `Map` iterator goes on in a map that changes. Null: no child is. */
  children: Iterator<RetainedNode<V>> | null;
  /** Of the child that was entered last; 0 when none was. */
  childOrdinal: number;
}

/**
 * A walk that pauses: it costs memory for the depth of the tree alone, and does not hold what it has still to visit. A topic
 * that comes after its start may be visited or not; of those that were there, each that stays is visited once.
 */
export class RetainedWalk<V> {
  private readonly filter: readonly string[];
  private readonly endsBelow: boolean;
  private readonly depth: number;
  private readonly latestOrdinal: number;
  private readonly root: RetainedNode<V>;
  private readonly frames: Frame<V>[] = [];
  private hasBegun = false;

  /** Of the store; see `RetainedStore.walk`. */
  constructor(root: RetainedNode<V>, latestOrdinal: number, filter: string) {
    this.root = root;
    this.latestOrdinal = latestOrdinal;
    this.filter = filter.split('/');
    this.endsBelow = this.filter[this.filter.length - 1] === '#';
    this.depth = this.endsBelow ? this.filter.length - 1 : this.filter.length;
  }

  /**
   * The next topic with its value as it is now; null when there is none in the next `stepsMax` nodes, `undefined` when the walk has
   * ended.
   */
  next(stepsMax: number): RetainedEntry<V> | null | undefined {
    const { frames } = this;
    if (!this.hasBegun) {
      this.hasBegun = true;
      const entry = this.enter(this.root);
      if (entry !== undefined) return entry;
    }
    for (let steps = 0; frames.length > 0; steps++) {
      if (steps === stepsMax) return null;
      const frame = frames[frames.length - 1] as Frame<V>;
      const child = this.childOf(frame);
      if (child === null) {
        frames.pop();
        continue;
      }
      frame.childOrdinal = child.ordinal;
      const entry = this.enter(child);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /** Whether the walk is past a topic that its filter matches: it will not be visited any more. */
  hasPassed(topic: string): boolean {
    if (!this.hasBegun) return false;
    const { frames } = this;
    if (frames.length === 0) return true;
    const levels = topic.split('/');
    let node = this.root;
    for (let level = 0; level < levels.length; level++) {
      const child = childOf(node, levels[level]);
      // It is not stored, or it came after the start of the walk.
      if (child === undefined || child.ordinal > this.latestOrdinal) return true;
      const frame = frames[level];
      // A node that was left: all below it is done.
      if (frame?.node !== node) return true;
      if (child.ordinal !== frame.childOrdinal) return child.ordinal < frame.childOrdinal;
      node = child;
    }
    return true;
  }

  private enter(node: RetainedNode<V>): RetainedEntry<V> | undefined {
    const at = this.frames.length;
    this.frames.push({ node, children: this.childrenOf(node, at), childOrdinal: 0 });
    return at >= this.depth && (at === this.depth || this.endsBelow) ? node.entry : undefined;
  }

  private childrenOf(node: RetainedNode<V>, at: number): Iterator<RetainedNode<V>> | null {
    if (at >= this.depth && !this.endsBelow) return null;
    const { children } = node;
    if (children === undefined) return null;
    const level = this.filter[at];
    if (at < this.depth && level !== '+') {
      const child = childOf(node, level);
      return child === undefined ? null : [child].values();
    }
    return children instanceof Map ? children.values() : [children].values();
  }

  private childOf(frame: Frame<V>): RetainedNode<V> | null {
    if (frame.children === null) return null;
    for (;;) {
      const { done, value } = frame.children.next();
      // Those that came later lie behind all others.
      if (done === true || value.ordinal > this.latestOrdinal) return null;
      // `$` topics belong to no filter that begins with a wildcard.
      const isHidden = frame.node === this.root && isHiddenTopic(value.name) && this.filter[0] !== value.name;
      if (!isHidden) return value;
    }
  }
}
