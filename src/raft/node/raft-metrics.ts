/**
 * What the Raft worker counts. The definitions are read on the main thread too, which serves them; the values are copied
 * into shared memory by a timer of the Raft worker.
 */
import type { GroupStatus } from '../../core/ports/placement.ts';
import { eventLoopMetricDefinitions } from '../../observability/event-loop-metrics.ts';
import { type MetricDefinition, MetricsLayout, type ThreadMetrics } from '../../observability/metrics.ts';
import type { TransportCounters } from '../transport/peer-ports.ts';

/** Grow only. */
export interface RaftCounts {
  proposals: number;
  proposalsFailed: number;
  reads: number;
  readsFailed: number;
  leaderChanges: number;
  elections: number;
  logWrites: number;
  logEntries: number;
  logSeconds: number;
  flushes: number;
}

export function newRaftCounts(): RaftCounts {
  return {
    proposals: 0,
    proposalsFailed: 0,
    reads: 0,
    readsFailed: 0,
    leaderChanges: 0,
    elections: 0,
    logWrites: 0,
    logEntries: 0,
    logSeconds: 0,
    flushes: 0,
  };
}

const gauges = {
  ringmq_placement_term: ['Term of the placement group.', (status) => status.term],
  ringmq_placement_is_leader: [
    '1 while this node leads the placement group.',
    (status) => Number(status.role === 'leader'),
  ],
  ringmq_placement_has_leader: ['1 while a leader is known.', (status) => Number(status.leader !== null)],
  ringmq_placement_is_faulted: [
    '1 once this node has left the placement group for a fault.',
    (status) => Number(status.fault !== null),
  ],
  ringmq_placement_voters: [
    'Voters of the placement group.',
    (status) => status.members.filter(({ role }) => role === 'voter').length,
  ],
  ringmq_placement_learners: [
    'Learners of the placement group.',
    (status) => status.members.filter(({ role }) => role === 'learner').length,
  ],
  ringmq_placement_commit_index: ['Last entry that is known to be committed.', (status) => status.commitIndex],
  ringmq_placement_applied_index: ['Last entry that is applied.', (status) => status.appliedIndex],
  ringmq_placement_last_index: ['Last entry of the log.', (status) => status.lastIndex],
  ringmq_placement_revision: ['Revision of the store.', (status) => status.revision],
  ringmq_placement_log_bytes: ['Size of the log on disk.', (status) => status.logBytes],
  ringmq_placement_state_bytes: ['Size of the state on disk.', (status) => status.stateBytes],
} satisfies Record<string, readonly [string, (status: GroupStatus) => number]>;

const counters = {
  ringmq_placement_proposals_total: ['Writes that were asked for here.', 'proposals'],
  ringmq_placement_proposals_failed_total: ['Writes that had no result.', 'proposalsFailed'],
  ringmq_placement_reads_total: ['Reads that were asked for here.', 'reads'],
  ringmq_placement_reads_failed_total: ['Reads that had no result.', 'readsFailed'],
  ringmq_placement_leader_changes_total: ['Leaders that this node has seen.', 'leaderChanges'],
  ringmq_placement_elections_total: ['Elections that this node has called.', 'elections'],
  ringmq_placement_log_writes_total: ['Writes to the log.', 'logWrites'],
  ringmq_placement_log_entries_total: ['Entries written to the log.', 'logEntries'],
  ringmq_placement_log_write_seconds_total: [
    'Time from a write to the log until it was durable; divided by the writes it is the mean.',
    'logSeconds',
  ],
} satisfies Record<string, readonly [string, keyof RaftCounts]>;

const traffic = {
  ringmq_placement_peer_messages_sent_total: ['Messages sent to other nodes.', 'messagesSent'],
  ringmq_placement_peer_messages_received_total: ['Messages received from other nodes.', 'messagesReceived'],
  ringmq_placement_peer_bytes_sent_total: ['Bytes of messages sent to other nodes.', 'bytesSent'],
  ringmq_placement_peer_bytes_received_total: ['Bytes of messages received from other nodes.', 'bytesReceived'],
  ringmq_placement_peer_dropped_unreachable_total: [
    'Messages to nodes that could not be reached.',
    'droppedUnreachable',
  ],
  ringmq_placement_peer_dropped_overflow_total: ['Messages to nodes that were too slow.', 'droppedOverflow'],
  ringmq_placement_peer_hellos_refused_total: ['Connections that were not wanted.', 'hellosRefused'],
  ringmq_placement_snapshots_sent_total: ['States sent to other nodes.', 'snapshotsSent'],
  ringmq_placement_snapshots_received_total: ['States received and installed.', 'snapshotsReceived'],
  ringmq_placement_snapshots_failed_total: ['States that did not arrive.', 'snapshotsFailed'],
} satisfies Record<string, readonly [string, keyof TransportCounters]>;

/** The slots of the Raft worker's block. */
export function raftMetricsLayout(): MetricsLayout {
  const define = (table: Readonly<Record<string, readonly [string, unknown]>>, kind: MetricDefinition['kind']) =>
    Object.entries(table).map(([name, [help]]): MetricDefinition => ({ name, help, kind }));
  return new MetricsLayout([
    define(gauges, 'gauge'),
    define(counters, 'counter'),
    define(traffic, 'counter'),
    eventLoopMetricDefinitions(),
  ]);
}

/** Copies the present values into the block of the calling thread. */
export function publishRaftMetrics(
  metrics: ThreadMetrics,
  status: GroupStatus,
  counts: RaftCounts,
  transport: TransportCounters,
): void {
  for (const [name, [, read]] of Object.entries(gauges)) metrics.set(metrics.slot(name), read(status));
  for (const [name, [, key]] of Object.entries(counters)) metrics.set(metrics.slot(name), counts[key]);
  for (const [name, [, key]] of Object.entries(traffic)) metrics.set(metrics.slot(name), transport[key]);
}
