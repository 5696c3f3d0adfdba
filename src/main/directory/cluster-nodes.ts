/**
 * Which nodes there are beside this one, and whether they live. Main thread; used by what a node shares with others.
 */
import type { NodeRecord, PlacementNode } from '../../core/ports/placement.ts';

/**
 * `alive`: it is in service. `gone`: its time ran out, or it has left; it may come back. `lost`: it is no member any more, or was gone for too
 * long.
 */
export type NodeFate = 'alive' | 'gone' | 'lost';

const timeoutMs = 3_000;

export class ClusterNodes {
  readonly #placement: PlacementNode;
  readonly #self: string;
  #members: readonly string[] = [];
  /** When a node was first seen to be gone, by a clock that never goes back. */
  readonly #goneSince = new Map<string, number>();

  constructor(placement: PlacementNode, self: string) {
    this.#placement = placement;
    this.#self = self;
  }

  /** Names of all members of the group. Answers those that were not known. */
  setMembers(members: readonly string[]): readonly string[] {
    const former = new Set(this.#members);
    this.#members = members.filter((name) => name !== '' && name !== this.#self);
    return this.#members.filter((name) => !former.has(name));
  }

  others(): readonly string[] {
    return this.#members;
  }

  /** Whether the node has ever been in service. May reject with `PlacementError`. */
  async hasServed(node: string): Promise<boolean> {
    return (await this.#recordOf(node)) !== undefined;
  }

  /** `lostAfterMs` 0: only when it is no member any more. May reject with `PlacementError`. */
  async fateOf(node: string, lostAfterMs: number): Promise<NodeFate> {
    const record = await this.#recordOf(node);
    if (record?.state === 'in-service') {
      this.#goneSince.delete(node);
      return 'alive';
    }
    if (!this.#members.includes(node)) return 'lost';
    const now = performance.now();
    const since = this.#goneSince.get(node) ?? now;
    this.#goneSince.set(node, since);
    return lostAfterMs > 0 && now - since >= lostAfterMs ? 'lost' : 'gone';
  }

  /** Whether that incarnation of a node is in service. May reject with `PlacementError`. */
  async isServing(node: string, epoch: number): Promise<boolean> {
    const record = await this.#recordOf(node);
    return record?.state === 'in-service' && record.epoch === epoch;
  }

  async #recordOf(name: string): Promise<NodeRecord | undefined> {
    const result = await this.#placement.query({ type: 'nodes', consistency: 'linearizable' }, { timeoutMs });
    return result.type === 'nodes' ? result.nodes.find(({ node }) => node === name) : undefined;
  }
}
