/** Words about runs, for people. */
import { describeProfile, type ProfileLimits } from './profile.ts';
import type { RunReport } from './world.ts';

export function commandOf(report: RunReport, limits: ProfileLimits, canary: string | null): string {
  const parts = [`npm run sim -- --seed ${report.seed} --steps ${report.steps}`];
  if (limits.disabled.length > 0) parts.push(`--without ${limits.disabled.join(',')}`);
  if (limits.required.length > 0) parts.push(`--with ${limits.required.join(',')}`);
  if (limits.hostsMax < 7) parts.push(`--hosts ${limits.hostsMax}`);
  if (canary !== null) parts.push(`--canary ${canary}`);
  return parts.join(' ');
}

export function describeFailure(report: RunReport): string {
  const { violation } = report;
  return [
    `seed ${report.seed}, ${report.steps} steps: ${violation?.invariant} broken after ${report.events} events, ${report.simulatedMs} ms`,
    `  ${violation?.message}`,
    `  ${describeProfile(report.profile)}`,
    ...report.hosts.map((line) => `  ${line}`),
    '  last events:',
    ...report.lastEvents.map((line) => `    ${line}`),
  ].join('\n');
}

export function describeRun(report: RunReport): string {
  const { clients, network } = report;
  const faults = [...report.faults].map(([kind, count]) => `${kind} ${count}`).join(', ');
  return [
    `seed ${report.seed}, ${report.steps} steps, trace digest ${report.digest}`,
    `  ${describeProfile(report.profile)}`,
    `  ${report.events} events in ${report.simulatedMs} ms of simulated time, ${report.entries} entries, ${report.elections} elections, ${report.snapshots} snapshots installed`,
    `  ${clients.writes} writes, ${clients.reads} reads, ${clients.unknown} without an answer, ${clients.refused} refused, ${report.watchEvents} events watched`,
    `  leases extended ${report.leasesExtended} times, ${report.leasesExpired} expired`,
    `  messages: ${network.sent} sent, ${network.delivered} delivered, ${network.lost} lost, ${network.cut} cut off, ${network.duplicated} repeated, ${network.reordered} out of order`,
    `  ${faults}`,
  ].join('\n');
}

/** Sums over many runs. */
export class Totals {
  runs = 0;
  readonly sums = new Map<string, number>();
  /** Runs in which it happened at all. */
  readonly runsWith = new Map<string, number>();

  add(report: RunReport): void {
    this.runs++;
    const { clients, network } = report;
    const numbers: (readonly [string, number])[] = [
      ['events', report.events],
      ['entries', report.entries],
      ['elections', report.elections],
      ['snapshots installed', report.snapshots],
      ['writes', clients.writes],
      ['reads', clients.reads],
      ['calls without an answer', clients.unknown],
      ['calls refused', clients.refused],
      ['histories not decided', clients.undecidedKeys],
      ['events watched', report.watchEvents],
      ['leases extended', report.leasesExtended],
      ['leases expired', report.leasesExpired],
      ['messages lost', network.lost],
      ['messages cut off', network.cut],
      ['messages repeated', network.duplicated],
      ['messages out of order', network.reordered],
      ...report.faults,
    ];
    for (const [name, value] of numbers) {
      this.sums.set(name, (this.sums.get(name) ?? 0) + value);
      if (value > 0) this.runsWith.set(name, (this.runsWith.get(name) ?? 0) + 1);
    }
  }

  /** Takes in the totals of another process. */
  merge(other: {
    readonly runs: number;
    readonly sums: [string, number][];
    readonly runsWith: [string, number][];
  }): void {
    this.runs += other.runs;
    for (const [name, value] of other.sums) this.sums.set(name, (this.sums.get(name) ?? 0) + value);
    for (const [name, value] of other.runsWith) this.runsWith.set(name, (this.runsWith.get(name) ?? 0) + value);
  }

  describe(): string {
    return [...this.sums]
      .map(
        ([name, sum]) =>
          `${String(sum).padStart(12)}  ${name} (in ${this.runsWith.get(name) ?? 0} of ${this.runs} runs)`,
      )
      .join('\n');
  }
}
