/**
 * A broker inside of this process, its storage at full load for some time, and samples of what it takes meanwhile. Producers, plain and
 * idempotent, wait for their answers; consumers of the tail check every record; one consumer reads cold data again and again; streams
 * come and go. Retention keeps the disk small.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { LatencyCounts } from '../../src/journal/bench/latency-counts.ts';
import { type Broker, startBroker } from '../../src/main/index.ts';
import type { SoakSample } from './soak-judge.ts';
import { churn, SoakConsumer, SoakCounts, SoakProducer } from './soak-load.ts';

/** The stream that is read from the disk as well. */
const coldStream = 'soak-cold';

export interface SoakOptions {
  /** Where the data folder is made; removed at the end. */
  readonly folder: string;
  readonly seconds: number;
  readonly sampleSeconds: number;
  readonly streams: number;
  /** Of each stream. */
  readonly retentionBytes: number;
  readonly segmentBytes: number;
  readonly churnEveryMs: number;
  onSample(sample: SoakSample): void;
}

export interface SoakResult {
  readonly counts: SoakCounts;
  readonly samples: readonly SoakSample[];
}

export async function runSoak(options: SoakOptions): Promise<SoakResult> {
  mkdirSync(options.folder, { recursive: true });
  const data = mkdtempSync(join(options.folder, 'ringmq-soak-'));
  // Otherwise a run that is broken off leaves gigabytes.
  const remove = (): void => rmSync(data, { recursive: true, force: true });
  const onSignal = (): void => {
    remove();
    process.exit(1);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    const broker = await startBroker({ settings: { data } });
    try {
      return await new Soak(broker, join(data, 'journal'), options).run();
    } finally {
      await broker.stop();
    }
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    remove();
  }
}

class Soak {
  readonly #broker: Broker;
  readonly #journal: string;
  readonly #options: SoakOptions;
  readonly #counts = new SoakCounts();
  readonly #samples: SoakSample[] = [];
  readonly #parts: { stop(): Promise<void> }[] = [];
  #isOver = false;
  #before = { ms: 0, acknowledged: 0, verified: 0, cold: 0, disk: 0 };

  constructor(broker: Broker, journal: string, options: SoakOptions) {
    this.#broker = broker;
    this.#journal = journal;
    this.#options = options;
  }

  async run(): Promise<SoakResult> {
    const { seconds, sampleSeconds } = this.#options;
    await this.#begin();
    const startMs = performance.now();
    this.#before.ms = startMs;
    const churning = this.#churn();
    for (let sample = 1; sample * sampleSeconds <= seconds; sample += 1) {
      await sleepUntil(startMs + sample * sampleSeconds * 1000);
      await this.#sample(startMs);
      // What is wrong will not become right.
      if (this.#counts.problems.length > 0) break;
    }
    this.#isOver = true;
    // Producers first: consumers of the tail read what they have sent.
    for (const part of this.#parts) await part.stop();
    await churning;
    return { counts: this.#counts, samples: this.#samples };
  }

  async #begin(): Promise<void> {
    const { streams, retentionBytes, segmentBytes } = this.#options;
    const { storage } = this.#broker;
    const counts = this.#counts;
    const consumers: SoakConsumer[] = [];
    const producers: SoakProducer[] = [];
    for (let stream = 0; stream < streams; stream += 1) {
      const partition = await storage.create(stream === 0 ? coldStream : `soak-${stream}`, {
        retentionBytes,
        segmentBytes,
      });
      const tail = new SoakConsumer(partition, { counts, isCold: false, bytesMax: 1024 * 1024 });
      consumers.push(tail);
      if (stream === 0) consumers.push(new SoakConsumer(partition, { counts, isCold: true, bytesMax: 256 * 1024 }));
      for (const isIdempotent of [false, true]) {
        const number = producers.length + 1;
        producers.push(new SoakProducer(partition, { number, isIdempotent, counts, consumed: () => tail.offset }));
      }
    }
    this.#parts.push(...producers, ...consumers);
    for (const consumer of consumers) consumer.start();
    for (const producer of producers) producer.start();
  }

  async #churn(): Promise<void> {
    for (let number = 0; !this.#isOver; number += 1) {
      await sleepUntil(performance.now() + this.#options.churnEveryMs);
      try {
        await dropFromCache(join(this.#journal, coldStream));
        await churn(this.#broker.storage, number, this.#counts);
      } catch (error) {
        this.#counts.problem(`stream that comes and goes: ${(error as Error).message}`);
        return;
      }
    }
  }

  async #sample(startMs: number): Promise<void> {
    const counts = this.#counts;
    const metrics = await this.#metrics();
    const nowMs = performance.now();
    const { ms, acknowledged, verified, cold, disk } = this.#before;
    const perS = (count: number): number => Math.round(count / ((nowMs - ms) / 1000));
    const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
    const { segments, diskBytes } = filesBelow(this.#journal);
    const sample: SoakSample = {
      seconds: Math.round((nowMs - startMs) / 100) / 10,
      recordsPerS: perS(counts.acknowledged - acknowledged),
      readPerS: perS(counts.verified - verified),
      coldPerS: perS(counts.coldVerified - cold),
      diskReadPerS: perS(metrics.disk - disk),
      paceBytesPerS: metrics.pace,
      p99Us: counts.latency.figures().p99Us,
      ...{ rssBytes: rss, heapBytes: heapUsed, journalHeapBytes: metrics.heap, externalBytes: external },
      ...{ arrayBufferBytes: arrayBuffers, descriptors: descriptorCount(), segments, diskBytes },
    };
    this.#before = {
      ...{ ms: nowMs, acknowledged: counts.acknowledged, verified: counts.verified },
      ...{ cold: counts.coldVerified, disk: metrics.disk },
    };
    counts.latency = new LatencyCounts();
    this.#samples.push(sample);
    this.#options.onSample(sample);
  }

  /** The journal worker tells them on the HTTP port only. */
  async #metrics(): Promise<{ readonly heap: number; readonly disk: number; readonly pace: number }> {
    const text = await (await fetch(`${this.#broker.url('http')}/metrics`)).text();
    const seriesOf = (name: string): number => {
      const found = new RegExp(`^${name}\\{[^}]*worker="journal"[^}]*\\} (\\S+)$`, 'm').exec(text);
      return found === null ? 0 : Number(found[1]);
    };
    return {
      heap: seriesOf('ringmq_heap_used_bytes'),
      disk: seriesOf('ringmq_storage_cold_read_bytes_total'),
      pace: seriesOf('ringmq_storage_cold_read_limit_bytes'),
    };
  }
}

/** Takes full segments out of the page cache, so that who reads them reads the disk; does nothing where there is no such `dd`. */
async function dropFromCache(folder: string): Promise<void> {
  const segments = readdirSync(folder).filter((name) => name.endsWith('.log'));
  for (const name of segments.sort().slice(0, -1)) {
    await new Promise<void>((resolve) => {
      const args = [`if=${join(folder, name)}`, 'iflag=nocache', 'count=0', 'status=none'];
      // A segment may be gone by now.
      execFile('dd', args, () => resolve());
    });
  }
}

/** 0 where the system has no such list. */
function descriptorCount(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    // Not Linux.
    return 0;
  }
}

/** Files may go while they are looked at. */
function filesBelow(folder: string): { readonly segments: number; readonly diskBytes: number } {
  let segments = 0;
  let diskBytes = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const stats = statSync(join(folder, name), { throwIfNoEntry: false });
    if (stats === undefined || !stats.isFile()) continue;
    if (name.endsWith('.log')) segments += 1;
    diskBytes += stats.blocks * 512;
  }
  return { segments, diskBytes };
}

function sleepUntil(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - performance.now())));
}
