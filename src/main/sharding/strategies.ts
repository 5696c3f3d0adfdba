/**
 * Which worker takes the next connection. Lives on the main thread, called by the acceptor for every accepted socket.
 *
 * A connection stays on its worker for life, so the choice is the only balancing there is.
 */
import type { NodeSettings } from '../../config/schema.ts';
import { assert } from '../../std/assert.ts';

/** What a strategy may look at. */
export interface ShardingView {
  /** Indexes of the workers that serve; never empty, ascending. */
  readonly workers: readonly number[];
  /** Open connections of a worker, those on their way to it included. */
  connectionsOf(worker: number): number;
  /** Address of the peer; asks the kernel, so only a strategy that needs it calls it. */
  remoteAddress(): string;
}

export type ShardingStrategy = (view: ShardingView) => number;

export function createStrategy(name: NodeSettings['sharding']): ShardingStrategy {
  switch (name) {
    case 'least-connections':
      return leastConnections();
    case 'round-robin':
      return roundRobin();
    case 'address-hash':
      return addressHash;
  }
}

/** The worker with the fewest connections; among equals the next in turn, so that an idle broker spreads evenly. */
function leastConnections(): ShardingStrategy {
  let last = -1;
  return ({ workers, connectionsOf }) => {
    assert(workers.length > 0, 'there is a worker to choose');
    let best = -1;
    let bestCount = Number.POSITIVE_INFINITY;
    const first = firstAfter(workers, last);
    for (let step = 0; step < workers.length; step++) {
      const worker = workers[(first + step) % workers.length];
      const count = connectionsOf(worker);
      if (count < bestCount) {
        best = worker;
        bestCount = count;
      }
    }
    last = best;
    return best;
  };
}

function roundRobin(): ShardingStrategy {
  let last = -1;
  return ({ workers }) => {
    assert(workers.length > 0, 'there is a worker to choose');
    last = workers[firstAfter(workers, last)];
    return last;
  };
}

/** Position of the first worker behind `last` in the circle, which may have lost members since. */
function firstAfter(workers: readonly number[], last: number): number {
  const position = workers.findIndex((worker) => worker > last);
  return position === -1 ? 0 : position;
}

/**
 * One address always meets the same worker. The highest hash of address and worker wins (rendezvous hashing), so a
 * worker that dies moves its own clients and no others, and they return when its successor serves.
 */
function addressHash({ workers, remoteAddress }: ShardingView): number {
  assert(workers.length > 0, 'there is a worker to choose');
  const seed = hashAddress(remoteAddress());
  let best = -1;
  let bestHash = -1;
  for (const worker of workers) {
    const hash = mix(seed ^ Math.imul(worker + 1, 0x9e3779b1));
    if (hash > bestHash) {
      best = worker;
      bestHash = hash;
    }
  }
  return best;
}

/** FNV-1a over the characters, 32 bits. */
function hashAddress(address: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < address.length; index++) {
    hash = Math.imul(hash ^ address.charCodeAt(index), 0x01000193);
  }
  return hash;
}

/** Spreads 32 bits over 32 bits (the finaliser of MurmurHash3); addresses of one network differ in few bits. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
