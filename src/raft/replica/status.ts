/** The state of the group as this replica sees it, for people and for the API. Thread: the Raft worker. */
import type { GroupStatus, MemberInfo } from '../../core/ports/placement.ts';
import type { ConsensusStatus } from '../consensus/consensus.ts';
import type { ReplicaId } from '../consensus/types.ts';
import type { PlacementState } from '../placement/placement-state.ts';
import type { RaftLog } from '../ports.ts';
import type { Activity } from './activity.ts';

export type CoreStatus = ConsensusStatus;

interface Parts {
  readonly replica: ReplicaId;
  readonly core: CoreStatus;
  readonly log: RaftLog;
  readonly state: PlacementState;
  readonly stateBytes: number;
  readonly activity: Activity;
  readonly fault: Error | null;
  readonly isStopped: boolean;
}

export function groupStatusOf({
  replica,
  core,
  log,
  state,
  stateBytes,
  activity,
  fault,
  isStopped,
}: Parts): GroupStatus {
  const hasLeft = fault !== null || isStopped;
  return {
    clusterId: state.clusterId,
    replica: String(replica),
    leader: core.leader === 0 || hasLeft ? null : String(core.leader),
    role: hasLeft ? 'stopped' : core.isLearner ? 'learner' : core.role,
    term: core.term,
    commitIndex: core.commit,
    appliedIndex: state.appliedIndex,
    lastIndex: log.lastIndex(),
    firstIndex: log.firstIndex(),
    revision: state.revision,
    compactedRevision: state.compactedRevision,
    logBytes: log.sizeBytes(),
    stateBytes,
    members: membersOf(replica, core, state, activity),
    fault: fault === null ? null : fault.message,
  };
}

function membersOf(self: ReplicaId, core: CoreStatus, state: PlacementState, activity: Activity): MemberInfo[] {
  const { voters, outgoing, learners } = core.membership;
  const learnerSet = new Set(learners);
  const isLeading = core.role === 'leader';
  return [...new Set([...voters, ...outgoing, ...learners])].map((replica) => {
    const progress = core.progress.get(replica);
    const known = state.members.get(replica);
    return {
      replica: String(replica),
      name: known?.name ?? '',
      address: known?.address ?? '',
      role: learnerSet.has(replica) ? 'learner' : 'voter',
      isLeader: replica === core.leader,
      matchIndex: isLeading && progress !== undefined ? progress.match : -1,
      isReachable: reachabilityOf(replica, self, core, activity),
    };
  });
}

/** Only the leader and its followers talk regularly. */
function reachabilityOf(replica: ReplicaId, self: ReplicaId, core: CoreStatus, activity: Activity): boolean | null {
  if (replica === self || activity.isActive(replica)) return true;
  return core.role === 'leader' || replica === core.leader ? false : null;
}
