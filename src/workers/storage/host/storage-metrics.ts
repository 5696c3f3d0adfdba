/**
 * What the journal worker counts. The definitions are read on the main thread too, which serves them; a `StorageMetrics` lives on the
 * journal worker and is fed by the host and by the engine's reports.
 */
import { getHeapStatistics } from 'node:v8';
import type { TierReport } from '../../../journal/tier/tier-options.ts';
import { countBounds, durationBounds, Histogram, histogramDefinitions } from '../../../observability/histogram.ts';
import { type MetricDefinition, MetricsLayout, ThreadMetrics } from '../../../observability/metrics.ts';
import { CounterBlock } from '../../../shm/counters.ts';
import { ServiceMetrics, serviceMetricDefinitions } from '../../services/host/service-metrics.ts';
import type { ColdPace } from '../cold-pace.ts';

const appendSeconds = 'ringmq_storage_append_seconds';
const syncSeconds = 'ringmq_storage_sync_seconds';
const readSeconds = 'ringmq_storage_read_seconds';
const tierGetSeconds = 'ringmq_storage_tier_get_seconds';
const roundAppends = 'ringmq_storage_round_appends';

/** Counters that are added to one by one. */
const counters = {
  appends: ['ringmq_storage_appends_total', 'Appends that were answered.'],
  appendedBytes: ['ringmq_storage_appended_bytes_total', 'Bytes of batches that were made durable.'],
  refused: ['ringmq_storage_appends_refused_total', 'Appends that were refused.'],
  rounds: ['ringmq_storage_rounds_total', 'Rounds of group commit.'],
  syncs: ['ringmq_storage_syncs_total', 'Files that were synced.'],
  roundBytes: ['ringmq_storage_round_bytes_total', 'Bytes that went into rounds of group commit.'],
  readsPlanned: ['ringmq_storage_reads_planned_total', 'Reads that were left to the thread that wanted them.'],
  reads: ['ringmq_storage_reads_total', 'Reads that were answered with bytes.'],
  readBytes: ['ringmq_storage_read_bytes_total', 'Bytes of the reads that were answered with bytes.'],
  calls: ['ringmq_storage_calls_total', 'Calls of clients other than appends.'],
  moved: ['ringmq_storage_appends_moved_total', 'Appends that were too large for a ring.'],
  coldReads: ['ringmq_storage_cold_reads_total', 'Reads of files beside appends that were not in the page cache.'],
  coldBytes: ['ringmq_storage_cold_read_bytes_total', 'Bytes of these reads.'],
  coldWait: ['ringmq_storage_cold_read_wait_seconds_total', 'Time that these reads waited for their turns.'],
  lost: ['ringmq_storage_engine_lost_total', 'Times that the engine of an adapter did not answer.'],
  tierUploads: ['ringmq_storage_tier_uploads_total', 'Segments that were stored in the cold tier.'],
  tierUploadBytes: ['ringmq_storage_tier_uploaded_bytes_total', 'Bytes of these segments.'],
  tierGetBytes: ['ringmq_storage_tier_get_bytes_total', 'Bytes that were fetched from the cold tier for reads.'],
  tierHits: ['ringmq_storage_tier_cache_hits_total', 'Blocks of the cold tier that a read found in memory.'],
  tierMisses: ['ringmq_storage_tier_cache_misses_total', 'Blocks of the cold tier that a read had to wait for.'],
  tierFailures: ['ringmq_storage_tier_failures_total', 'Requests that the cold tier did not do or did not answer.'],
  faults: ['ringmq_storage_faults_total', 'Faults that the journal reported: damage, torn ends, disks that failed.'],
} as const satisfies Record<string, readonly [string, string]>;

const gauges = {
  partitions: ['ringmq_storage_partitions_open', 'Partitions that clients have open.'],
  clients: ['ringmq_storage_clients', 'Threads that are joined to the storage.'],
  ready: ['ringmq_storage_ready', '1 while the storage serves.'],
  requestFill: ['ringmq_storage_request_ring_fill_bytes', 'Bytes of all request rings that are not answered.'],
  completionFill: ['ringmq_storage_completion_ring_fill_bytes', 'Bytes of all completion rings that are not read.'],
  coldLimit: ['ringmq_storage_cold_read_limit_bytes', 'Bytes a second that these reads may have; 0: no limit.'],
  tierBacklog: ['ringmq_storage_tier_backlog_bytes', 'Bytes of full segments that are to go to the cold tier.'],
  heap: ['ringmq_heap_used_bytes', 'Bytes of the JavaScript heap of the thread in use.'],
} as const satisfies Record<string, readonly [string, string]>;

export type StorageCounter = keyof typeof counters;
export type StorageGauge = keyof typeof gauges;

/** The slots of the journal worker's block. */
export function storageMetricsLayout(): MetricsLayout {
  const define = (table: Readonly<Record<string, readonly [string, string]>>, kind: MetricDefinition['kind']) =>
    Object.values(table).map(([name, help]): MetricDefinition => ({ name, help, kind }));
  return new MetricsLayout([
    histogramDefinitions(
      appendSeconds,
      'Time of an append in the journal worker until it was durable.',
      durationBounds,
    ),
    histogramDefinitions(
      syncSeconds,
      'Time of a round of group commit until all its files were synced.',
      durationBounds,
    ),
    histogramDefinitions(readSeconds, 'Time of a read in the journal worker.', durationBounds),
    histogramDefinitions(tierGetSeconds, 'Time of a request for bytes of the cold tier.', durationBounds),
    histogramDefinitions(roundAppends, 'Appends that were answered together.', countBounds),
    define(counters, 'counter'),
    define(gauges, 'gauge'),
    serviceMetricDefinitions(),
  ]);
}

/** One round of group commit, as the engine reports it. */
export interface RoundReport {
  readonly appends: number;
  readonly bytes: number;
  readonly syncs: number;
  readonly syncMs: number;
}

export class StorageMetrics {
  /** Of the services over the storage, in the same block. */
  readonly services: ServiceMetrics;
  readonly #metrics: ThreadMetrics;
  readonly #append: Histogram;
  readonly #sync: Histogram;
  readonly #read: Histogram;
  readonly #round: Histogram;
  readonly #tierGet: Histogram;
  /** What the journal tells of its cold tier. */
  readonly tier: TierReport = {
    uploaded: (bytes) => {
      this.add('tierUploads', 1);
      this.add('tierUploadBytes', bytes);
    },
    fetched: (bytes, durationMs) => {
      this.#tierGet.observe(durationMs / 1000);
      this.add('tierGetBytes', bytes);
    },
    looked: (hits, misses) => {
      this.add('tierHits', hits);
      this.add('tierMisses', misses);
    },
    failed: () => this.add('tierFailures', 1),
    backlog: (bytes) => this.set('tierBacklog', bytes),
  };
  readonly #counters: ReadonlyMap<StorageCounter, number>;
  readonly #gauges: ReadonlyMap<StorageGauge, number>;

  constructor(buffer: SharedArrayBuffer) {
    const metrics = new ThreadMetrics(storageMetricsLayout(), new CounterBlock(buffer));
    metrics.resetGauges();
    this.#metrics = metrics;
    this.#append = new Histogram(metrics, appendSeconds, durationBounds);
    this.#sync = new Histogram(metrics, syncSeconds, durationBounds);
    this.#read = new Histogram(metrics, readSeconds, durationBounds);
    this.#tierGet = new Histogram(metrics, tierGetSeconds, durationBounds);
    this.#round = new Histogram(metrics, roundAppends, countBounds);
    const slots = <K extends string>(table: Readonly<Record<K, readonly [string, string]>>): ReadonlyMap<K, number> =>
      new Map((Object.keys(table) as K[]).map((key) => [key, metrics.slot(table[key][0])]));
    this.#counters = slots(counters);
    this.#gauges = slots(gauges);
    this.services = new ServiceMetrics(metrics);
  }

  add(counter: StorageCounter, amount: number): void {
    this.#metrics.add(this.#counters.get(counter) as number, amount);
  }

  set(gauge: StorageGauge, value: number): void {
    this.#metrics.set(this.#gauges.get(gauge) as number, value);
  }

  appended(durationMs: number): void {
    this.#append.observe(durationMs / 1000);
  }

  answeredTogether(appends: number): void {
    this.#round.observe(appends);
  }

  read(durationMs: number, bytes: number): void {
    this.#read.observe(durationMs / 1000);
    this.add('reads', 1);
    this.add('readBytes', bytes);
  }

  round({ appends, bytes, syncs, syncMs }: RoundReport): void {
    if (appends > 0) this.#sync.observe(syncMs / 1000);
    this.add('rounds', 1);
    this.add('syncs', syncs);
    this.add('roundBytes', bytes);
  }

  /** The readers count on their own threads. */
  sampleColdReads(pace: ColdPace): void {
    const { bytes, reads, waitedUs } = pace.totals();
    this.#metrics.set(this.#counters.get('coldReads') as number, reads);
    this.#metrics.set(this.#counters.get('coldBytes') as number, bytes);
    this.#metrics.set(this.#counters.get('coldWait') as number, waitedUs / 1e6);
    this.set('coldLimit', pace.limitBytesPerS);
  }

  sampleHeap(): void {
    this.set('heap', getHeapStatistics().used_heap_size);
  }
}
