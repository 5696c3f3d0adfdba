/** The loads of the comparison with etcd and what RingMQ must reach in each. Data only; used by `../kv.ts`. */

export type SystemName = 'ringmq' | 'etcd';

/** One way to load a system: which nodes the clients talk to, and etcd's with which client. */
export interface Way {
  readonly system: SystemName;
  readonly nodes: 'leader' | 'all';
  /** etcd: the lean client, which leaves more of the machine to etcd than the gRPC library. */
  readonly isLean: boolean;
}

export interface Row {
  readonly id: string;
  readonly clients: number;
  readonly operations: 'set' | 'get' | 'get-serializable';
  /** The least of RingMQ's rate, as a multiple of etcd's; p99 must then be no worse. Absent: reported only. */
  readonly rateToEtcdMin?: number;
}

export const KEY_BYTES = 8;
export const VALUE_BYTES = 256;

export const rows: readonly Row[] = [
  { id: 'writes-1', clients: 1, operations: 'set', rateToEtcdMin: 1.5 },
  { id: 'writes-100', clients: 100, operations: 'set', rateToEtcdMin: 1.5 },
  { id: 'reads-100', clients: 100, operations: 'get', rateToEtcdMin: 1.5 },
  { id: 'serializable-100', clients: 100, operations: 'get-serializable' },
];

/** Row of reads by another thread of the node's own process; RingMQ alone can do it. */
export const IN_PROCESS = 'in-process';

/** Each system is compared at its best way. */
export const ways: readonly Way[] = [
  { system: 'ringmq', nodes: 'leader', isLean: false },
  { system: 'ringmq', nodes: 'all', isLean: false },
  { system: 'etcd', nodes: 'leader', isLean: true },
  { system: 'etcd', nodes: 'all', isLean: true },
  { system: 'etcd', nodes: 'leader', isLean: false },
  { system: 'etcd', nodes: 'all', isLean: false },
];

export function nameOf(way: Way): string {
  const nodes = way.nodes === 'all' ? 'all nodes' : 'leader';
  if (way.system === 'ringmq') return `ringmq, ${nodes}`;
  return `etcd, ${nodes}, ${way.isLean ? 'lean client' : 'gRPC library'}`;
}

/** The flags of `ringmq bench kv` for a row. */
export function benchFlags(row: Row): string[] {
  const sizes = ['--key-bytes', `${KEY_BYTES}`, '--value-bytes', `${VALUE_BYTES}`];
  return ['--clients', `${row.clients}`, '--operations', row.operations, ...sizes];
}
