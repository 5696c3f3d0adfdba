/** A look behind the driver: the consensus core of a replica, for checks and for steps that its calls do not offer. */
import type { Consensus } from '../../src/raft/consensus/consensus.ts';
import type { Replica } from '../../src/raft/replica/replica.ts';

export function coreOf(replica: Replica): Consensus {
  return (replica as unknown as { readonly consensus: Consensus }).consensus;
}
