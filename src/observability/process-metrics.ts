/**
 * Metrics of the whole process, under the names that Prometheus client libraries use for them, and the build information.
 * Runs on the thread that serves `/metrics`, once per scrape.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { MetricFamily } from './exposition.ts';

/** Collects the families. What this platform cannot tell (open descriptors without `/proc`) is left out. */
export async function collectProcessMetrics(version: string): Promise<MetricFamily[]> {
  const { user, system } = process.cpuUsage();
  const families = [
    gauge('process_resident_memory_bytes', 'Resident memory of the process.', process.memoryUsage.rss()),
    family('process_cpu_seconds_total', 'CPU time of all threads, user and system.', 'counter', (user + system) / 1e6),
    gauge('process_start_time_seconds', 'Start of the process, seconds since 1970.', startTimeSeconds()),
    ...(await descriptorFamilies()),
  ];
  const labels = { version, node: process.version, platform: `${process.platform}-${process.arch}` };
  families.push({
    name: 'ringmq_build_info',
    help: 'Always 1; the labels say what is running.',
    kind: 'gauge',
    samples: [{ labels, value: 1 }],
  });
  return families;
}

function startTimeSeconds(): number {
  // Rounded, so that the value is the same on every scrape in spite of the clocks' different resolutions.
  return Math.round(Date.now() / 1000 - process.uptime());
}

/** Reading the folder asynchronously matters: with 10,000 connections it takes milliseconds. */
async function descriptorFamilies(): Promise<MetricFamily[]> {
  if (process.platform !== 'linux') return [];
  const [entries, limits] = await Promise.allSettled([
    readdir('/proc/self/fd'),
    readFile('/proc/self/limits', 'latin1'),
  ]);
  const families: MetricFamily[] = [];
  if (entries.status === 'fulfilled') {
    // One of the entries is the descriptor that reads the folder.
    families.push(gauge('process_open_fds', 'Open file descriptors.', Math.max(0, entries.value.length - 1)));
  }
  const limit = limits.status === 'fulfilled' ? /^Max open files\s+(\d+)/m.exec(limits.value)?.[1] : undefined;
  if (limit !== undefined) families.push(gauge('process_max_fds', 'Limit of open file descriptors.', Number(limit)));
  return families;
}

function gauge(name: string, help: string, value: number): MetricFamily {
  return family(name, help, 'gauge', value);
}

function family(name: string, help: string, kind: 'counter' | 'gauge', value: number): MetricFamily {
  return { name, help, kind, samples: [{ value }] };
}
