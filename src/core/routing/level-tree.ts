/**
 * Nodes of a tree by levels, shared by the subscription index and the retained store; any thread, each has its own tree.
 *
 * Most nodes have one child, and a `Map` takes some two hundred bytes, so a node holds its only child directly and gets
 * a `Map` with the second. Names are `Map` keys, never property names.
 */

/** What a node of a level tree needs; `children` is written by the functions of this file alone. */
export interface LevelNode<N> {
  readonly name: string;
  children: N | Map<string, N> | undefined;
}

export function childOf<N extends LevelNode<N>>(node: N, name: string): N | undefined {
  const children = node.children;
  if (children === undefined) return undefined;
  if (children instanceof Map) return children.get(name);
  return children.name === name ? children : undefined;
}

/** Adds a child whose name is not there yet. */
export function addChild<N extends LevelNode<N>>(node: N, child: N): void {
  const children = node.children;
  if (children === undefined) node.children = child;
  else if (children instanceof Map) children.set(child.name, child);
  else node.children = new Map([[children.name, children] as const, [child.name, child] as const]);
}

/** Takes out a child that is there. */
export function removeChild<N extends LevelNode<N>>(node: N, child: N): void {
  const children = node.children;
  if (!(children instanceof Map)) {
    node.children = undefined;
    return;
  }
  children.delete(child.name);
  if (children.size > 1) return;
  for (const only of children.values()) node.children = only;
}

/** Calls `push` for every child. */
export function forEachChild<N extends LevelNode<N>>(node: N, push: (child: N) => void): void {
  const children = node.children;
  if (children === undefined) return;
  if (!(children instanceof Map)) push(children);
  else for (const child of children.values()) push(child);
}

/** Splits `text` at `/` into the first elements of `levels` and returns how many there are; `levels` is used again. */
export function splitLevels(text: string, levels: string[]): number {
  let count = 0;
  let start = 0;
  for (;;) {
    const end = text.indexOf('/', start);
    if (end === -1) break;
    levels[count++] = text.slice(start, end);
    start = end + 1;
  }
  levels[count++] = text.slice(start);
  return count;
}

/**
 * A copy of `level` that keeps no longer string alive. V8 makes a slice of 13 characters or more a view of the whole,
 * so a node named by a slice would hold its first filter, up to 64 KiB, long after that filter is gone.
 */
export function ownedLevel(level: string): string {
  return level.length < 13 || !level.isWellFormed() ? level : Buffer.from(level).toString();
}
