/** The workloads of the acceptance table and the limits that each must keep. Data only; used by `../mqtt.ts`. */

export type BrokerName = 'ringmq' | 'mosquitto' | 'aedes' | 'wirelimit';

/** A stream or a sparse load, in the terms that both load programs know. */
export interface Workload {
  readonly publishers: number;
  readonly subscribers: number;
  readonly topics: number;
  readonly isWildcard: boolean;
  readonly qos: number;
  readonly payloadBytes: number;
  /** Messages a second over all publishers; 0 for as fast as possible. */
  readonly ratePerS: number;
  /** Subscribers have sessions that are kept, and mosquitto runs with persistence. */
  readonly isDurable: boolean;
  readonly transport: Transport;
}

/** `web-socket-uws` is RingMQ's other adapter of WebSocket. */
export type Transport = 'tcp' | 'tls' | 'web-socket' | 'web-socket-uws';

export interface Row {
  readonly id: string;
  readonly kind: 'load' | 'idle' | 'start-up';
  readonly workload: Workload;
  /** Few messages per read: the rows where latency counts, and where mosquitto runs with TCP_NODELAY. */
  readonly isSparse: boolean;
  /** Whether `wirelimit`, which forwards everything to everybody, does the same work. */
  readonly fitsWirelimit: boolean;
  /** RingMQ's workers in this row. */
  readonly workers: number;
  readonly limits: Limits;
}

/** Each is the most that RingMQ may take; absent ones do not apply. */
export interface Limits {
  readonly cpuToMosquitto?: number;
  readonly cpuToWirelimit?: number;
  /** To RingMQ's own `stream` row. */
  readonly cpuToOneWorker?: number;
  readonly p99ToMosquitto?: number;
  /** The least, unlike the others: 1 where there is none. */
  readonly rateToMosquitto?: number;
  readonly lost?: number;
  readonly kibPerConnection?: number;
  readonly startUpMs?: number;
}

const base: Workload = {
  publishers: 1,
  subscribers: 1,
  topics: 1,
  isWildcard: false,
  qos: 0,
  payloadBytes: 64,
  ratePerS: 0,
  isDurable: false,
  transport: 'tcp',
};

const load = { kind: 'load', isSparse: false, fitsWirelimit: false, workers: 1 } as const;

const stream: Row = {
  ...load,
  id: 'stream',
  workload: base,
  fitsWirelimit: true,
  limits: { cpuToMosquitto: 1 / 30, cpuToWirelimit: 3 },
};
const qos1: Row = { ...load, id: 'qos1', workload: { ...base, qos: 1 }, limits: { cpuToMosquitto: 1 / 12, lost: 0 } };
const qos2: Row = { ...load, id: 'qos2', workload: { ...base, qos: 2 }, limits: { cpuToMosquitto: 1 / 15, lost: 0 } };
const fanOut: Row = {
  ...load,
  id: 'fan-out',
  workload: { ...base, subscribers: 10 },
  fitsWirelimit: true,
  limits: { cpuToMosquitto: 1 / 30 },
};
const sparsePairs: Row = {
  ...load,
  id: 'sparse-pairs',
  workload: { ...base, publishers: 100, subscribers: 100, topics: 100, ratePerS: 20_000 },
  isSparse: true,
  limits: { cpuToMosquitto: 1.1, p99ToMosquitto: 1.5 },
};

/** The same against mosquitto with TLS, by the same ratios. */
function overTls(row: Row): Row {
  const { cpuToWirelimit: _, ...limits } = row.limits;
  const workload: Workload = { ...row.workload, transport: 'tls' };
  return { ...row, id: `tls-${row.id}`, workload, fitsWirelimit: false, limits };
}

function overWebSocket(transport: Transport, qos: number): Row {
  const id = qos === 0 ? transport : `${transport}-qos${qos}`;
  return { ...load, id, workload: { ...base, qos, transport }, limits: {} };
}

/** In the order of the table of the work item. */
export const rows: readonly Row[] = [
  stream,
  qos1,
  qos2,
  {
    ...load,
    id: 'pairs',
    workload: { ...base, publishers: 10, subscribers: 10, topics: 10 },
    limits: { cpuToMosquitto: 1 / 30 },
  },
  fanOut,
  sparsePairs,
  {
    ...load,
    id: 'sparse-fan-out',
    workload: { ...base, subscribers: 100, ratePerS: 1000 },
    isSparse: true,
    fitsWirelimit: true,
    limits: { cpuToMosquitto: 1 },
  },
  {
    ...load,
    id: 'sparse-fan-in',
    workload: { ...base, publishers: 200, isWildcard: true, ratePerS: 20_000 },
    isSparse: true,
    fitsWirelimit: true,
    limits: { cpuToMosquitto: 1.1 },
  },
  { ...load, id: 'two-workers', workload: base, workers: 2, limits: { cpuToOneWorker: 2 } },
  {
    ...load,
    id: 'durable',
    workload: { ...base, publishers: 100, subscribers: 100, topics: 100, qos: 1, isDurable: true },
    limits: { cpuToMosquitto: 1 / 5, rateToMosquitto: 5, lost: 0 },
  },
  ...[stream, qos1, qos2, fanOut, sparsePairs].map(overTls),
  ...(['web-socket', 'web-socket-uws'] as const).flatMap((transport) =>
    [0, 1].map((qos) => overWebSocket(transport, qos)),
  ),
  { ...load, id: 'idle', kind: 'idle', workload: base, limits: { kibPerConnection: 12 } },
  { ...load, id: 'start-up', kind: 'start-up', workload: base, limits: { startUpMs: 500 } },
];

/** Connections of the `idle` row. */
export const IDLE_CONNECTIONS = 9000;

/** The flags of `mqttblast` for a workload, which is also how the work item names it. */
export function blastFlags(workload: Workload): string[] {
  const { publishers, subscribers, topics, isWildcard, qos, payloadBytes, ratePerS } = workload;
  const flags = ['-P', `${publishers}`, '-S', `${subscribers}`, '-s', `${payloadBytes}`];
  if (topics > 1) flags.push('-T', `${topics}`);
  if (isWildcard) flags.push('-W');
  if (qos > 0) flags.push('-q', `${qos}`);
  if (ratePerS > 0) flags.push('-r', `${ratePerS}`);
  return flags;
}

/** The same for `ringmq bench`. */
export function benchFlags(workload: Workload): string[] {
  const { publishers, subscribers, topics, isWildcard, qos, payloadBytes, ratePerS } = workload;
  const flags = ['--publishers', `${publishers}`, '--subscribers', `${subscribers}`, '--topics', `${topics}`];
  flags.push('--qos', `${qos}`, '--size', `${payloadBytes}`);
  if (isWildcard) flags.push('--wildcard');
  if (ratePerS > 0) flags.push('--rate', `${ratePerS}`);
  if (workload.isDurable) flags.push('--durable');
  if (workload.transport === 'tls') flags.push('--insecure');
  if (workload.transport.startsWith('web-socket')) flags.push('--web-socket');
  return flags;
}

/** Whether `mqttblast`, which knows TCP alone, can do it. */
export function isForBlast({ transport }: Workload): boolean {
  return transport === 'tcp';
}
