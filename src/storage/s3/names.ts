/**
 * Names of partitions by the keys of their objects: each creation is a generation of its own, so that a request that arrives
 * late says something of an old one. Pure. Thread: the one that holds the store; used by the engine beside this file.
 */
import type { ListedObject } from './object-store.ts';

export interface Generation {
  readonly name: string;
  readonly key: string;
  readonly generation: number;
  readonly isRemoved: boolean;
  /** The object itself is there, and not only the one that says that it is removed. */
  readonly hasEntry: boolean;
  readonly isNewest: boolean;
  /** Of the newest of its objects. */
  readonly modified: number;
}

const namePattern = /^names\/([^/]+)\/(\d+)(-removed)?$/;

/** All generations of all names. */
export function allGenerations(objects: readonly ListedObject[]): Generation[] {
  const found = new Map<string, Generation>();
  const newest = new Map<string, number>();
  for (const { key, modified } of objects) {
    const match = namePattern.exec(key);
    if (match === null) continue;
    const [, name, digits, removed] = match;
    const generation = Number(digits);
    const own = `names/${name}/${digits}`;
    const known = found.get(own);
    found.set(own, {
      name,
      key: own,
      generation,
      isRemoved: removed !== undefined || known?.isRemoved === true,
      hasEntry: removed === undefined || known?.hasEntry === true,
      isNewest: false,
      modified: Math.max(modified, known?.modified ?? 0),
    });
    newest.set(name, Math.max(generation, newest.get(name) ?? 0));
  }
  return [...found.values()].map((each) => ({ ...each, isNewest: newest.get(each.name) === each.generation }));
}

/** The newest generation of each name. */
export function newestGenerations(objects: readonly ListedObject[]): Map<string, Generation> {
  return new Map(
    allGenerations(objects)
      .filter(({ isNewest }) => isNewest)
      .map((each) => [each.name, each]),
  );
}
