/**
 * Chooses nodes for replicas. Pure and deterministic: every replica of the group must choose the same, so names decide
 * between equals and are compared by code unit. Used by `topics.ts` and `nodes.ts`.
 */

/** A node that may take replicas; the counters are raised as it is chosen. */
export interface Candidate {
  readonly node: string;
  /** '' for unknown: a rack of its own. */
  readonly rack: string;
  replicas: number;
  leaders: number;
}

/**
 * `count` nodes for one partition that has replicas on `present` already; fewer when there are not enough. A rack that has
 * none comes before one that has, then the node with fewer replicas, then by name. The first replica of a new partition
 * leads it, so the node that leads least comes first there.
 */
export function chooseReplicas(
  candidates: readonly Candidate[],
  count: number,
  present: readonly Candidate[] = [],
): Candidate[] {
  const chosen: Candidate[] = [];
  while (chosen.length < count) {
    const taken = [...present, ...chosen];
    const isLeader = taken.length === 0;
    let best: Candidate | null = null;
    for (const candidate of candidates) {
      if (taken.some(({ node }) => node === candidate.node)) continue;
      if (best === null || isBetter(candidate, best, taken, isLeader)) best = candidate;
    }
    if (best === null) break;
    best.replicas++;
    if (isLeader) best.leaders++;
    chosen.push(best);
  }
  return chosen;
}

function isBetter(a: Candidate, b: Candidate, taken: readonly Candidate[], isLeader: boolean): boolean {
  const inRackOfA = rackUse(a, taken);
  const inRackOfB = rackUse(b, taken);
  if (inRackOfA !== inRackOfB) return inRackOfA < inRackOfB;
  if (isLeader && a.leaders !== b.leaders) return a.leaders < b.leaders;
  if (a.replicas !== b.replicas) return a.replicas < b.replicas;
  return a.node < b.node;
}

function rackUse({ rack }: Candidate, taken: readonly Candidate[]): number {
  if (rack === '') return 0;
  let count = 0;
  for (const each of taken) {
    if (each.rack === rack) count++;
  }
  return count;
}
