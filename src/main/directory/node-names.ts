/**
 * Names beside sessions that one owner at a time holds on all nodes of a cluster, such as exclusive subscriptions: by a record of each, which
 * is void when its node, in the incarnation of the record, is not in service. Main thread; loaded with `node-sessions.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PlacementNode } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';
import { exclusiveNameKind } from '../../raft/placement/records/exclusive-name.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { type Known, keyName, OwnerRecords } from './owner-records.ts';

export interface NodeNamesOptions {
  readonly placement: PlacementNode;
  readonly nodes: ClusterNodes;
  readonly node: string;
  /** Incarnation of this node; 0 while it is not registered. */
  nodeEpoch(): number;
  /** How long a client waits for an answer, ms. */
  readonly takeMs: number;
  readonly log: Logger;
}

type NameRecord = ReturnType<typeof exclusiveNameKind.decode>;

interface Held {
  readonly owner: string;
  /** Workers on which the owner is: two while it moves from one to the other. */
  readonly workers: Set<number>;
  revision: number;
}

const retryMs = 100;

export class NodeNames {
  readonly #options: NodeNamesOptions;
  readonly #records: OwnerRecords<NameRecord>;
  readonly #held = new Map<string, Held>();
  /** What happens to a name happens one after the other. */
  readonly #lanes = new Map<string, Promise<void>>();
  #isClosed = false;

  constructor(options: NodeNamesOptions) {
    this.#options = options;
    this.#records = new OwnerRecords(options.placement, exclusiveNameKind);
  }

  /** Whether `owner`, on that worker, holds the name now. Never rejects: what cannot be said is no. */
  hold(worker: number, name: string, owner: string): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#inLane(name, async () => resolve(await this.#hold(worker, name, owner)));
    return promise;
  }

  letGo(worker: number, name: string, owner: string): void {
    this.#inLane(name, () => this.#letGo(worker, name, owner));
  }

  /** A worker died, and with it what its sessions held. */
  workerGone(worker: number): void {
    for (const [name, { owner, workers }] of this.#held) if (workers.has(worker)) this.letGo(worker, name, owner);
  }

  /** The node was out of service, and is registered anew: its records count again with its present incarnation. */
  renew(): void {
    for (const name of this.#held.keys()) this.#inLane(name, () => this.#renew(name));
  }

  async #renew(name: string): Promise<void> {
    const held = this.#held.get(name);
    if (held === undefined || this.#isClosed) return;
    const { log } = this.#options;
    try {
      const put = await this.#records.put(this.#recordOf(name, held.owner), held.revision, keyName(name));
      if (put.isDone) held.revision = put.revision;
      else log.warn('Exclusive name was taken while this node was out of service', { name, owner: held.owner });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      log.warn('Exclusive name is not held against other nodes', { name, problem: error.message });
    }
  }

  close(): void {
    this.#isClosed = true;
  }

  async #hold(worker: number, name: string, owner: string): Promise<boolean> {
    const known = this.#held.get(name);
    if (known !== undefined && known.owner === owner) {
      known.workers.add(worker);
      return true;
    }
    const limit = performance.now() + this.#options.takeMs;
    let problem = 'this node is not registered in the cluster yet';
    while (performance.now() < limit && !this.#isClosed) {
      try {
        const held = this.#options.nodeEpoch() === 0 ? null : await this.#take(worker, name, owner);
        if (held !== null) return held;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        problem = error.message;
      }
      await sleep(retryMs);
    }
    this.#options.log.warn('Exclusive name is refused: the other nodes cannot be asked', { name, problem });
    return false;
  }

  /** Null: somebody else was quicker with something. */
  async #take(worker: number, name: string, owner: string): Promise<boolean | null> {
    let known: Known<NameRecord> | null = null;
    for (;;) {
      const put = await this.#records.put(this.#recordOf(name, owner), known?.revision ?? 0, keyName(name));
      if (put.isDone) {
        this.#held.set(name, { owner, workers: new Set([worker]), revision: put.revision });
        return true;
      }
      if (put.known === null || known !== null) return null;
      known = put.known;
      if (!(await this.#isVoid(known.record, owner))) return false;
    }
  }

  /** Whether a record does not keep `owner` from the name. */
  async #isVoid(record: NameRecord, owner: string): Promise<boolean> {
    // A session that has come from another node; or one of this node in a life before.
    if (record.owner === keyName(owner) || record.node === this.#options.node) return true;
    return !(await this.#options.nodes.isServing(record.node, record.nodeEpoch));
  }

  #recordOf(name: string, owner: string): NameRecord {
    const { node, nodeEpoch } = this.#options;
    return { name: keyName(name), owner: keyName(owner), node, nodeEpoch: nodeEpoch(), takenAtMs: Date.now() };
  }

  async #letGo(worker: number, name: string, owner: string): Promise<void> {
    const held = this.#held.get(name);
    if (held === undefined || held.owner !== owner) return;
    held.workers.delete(worker);
    if (held.workers.size > 0) return;
    this.#held.delete(name);
    // If the record stays, it is void when another session of this node, or another life of it, wants the name.
    await this.#records.remove(held.revision, keyName(name)).catch((error: unknown) => {
      if (!(error instanceof Error)) throw error;
      this.#options.log.debug('an exclusive name was not given back', { name, reason: error.message });
    });
  }

  #inLane(name: string, task: () => Promise<void>): void {
    const mine = (this.#lanes.get(name) ?? Promise.resolve()).then(task);
    this.#lanes.set(name, mine);
    void mine.then(() => {
      if (this.#lanes.get(name) === mine) this.#lanes.delete(name);
    });
  }
}
