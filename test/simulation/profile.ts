/**
 * What a run is made of. Each seed draws which faults are on and how hard they press (swarm testing): a run with
 * everything on at once hides what a run with two faults shows.
 */
import { Random } from './random.ts';

export const faultKinds = [
  'loss',
  'delay',
  'duplicate',
  'reorder',
  'clog',
  'partition',
  'one-way-cut',
  'kill',
  'power-loss',
  'power-loss-of-all',
  'pause',
  'clock-drift',
  'slow-sync',
  'failing-sync',
  'torn-write',
  'bit-flip',
  'disk-full',
  'grow',
  'shrink',
  'replace',
  'swap',
  'transfer',
  'compaction',
  'small-limits',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Profile {
  /** Machines that exist; the first `founders` make the group. */
  readonly hosts: number;
  readonly founders: number;
  readonly clients: number;
  readonly watchers: number;
  readonly keys: number;
  /** Pause of a client between two operations, mean. */
  readonly thinkUs: number;
  /** 0: off. Otherwise more than 0, at most 1. */
  readonly faults: Readonly<Record<FaultKind, number>>;
  /** Shares of the clients' operations. */
  readonly leaseShare: number;
  readonly nodeShare: number;
  readonly transactionShare: number;
}

export interface ProfileLimits {
  readonly disabled: readonly FaultKind[];
  /** No more hosts than that. */
  readonly hostsMax: number;
  /** These are on, whatever the seed says; for canaries that need them. */
  readonly required: readonly FaultKind[];
}

export const noLimits: ProfileLimits = { disabled: [], hostsMax: 7, required: [] };

export function drawProfile(seed: number, limits: ProfileLimits = noLimits): Profile {
  const random = new Random(seed, 'profile');
  const founders = random.pick([1, 2, 3, 3, 3, 3, 5]);
  const spare = random.pick([0, 1, 2, 2, 4]);
  const share = random.pick([0.2, 0.35, 0.5, 0.7]);
  const faults = Object.fromEntries(
    faultKinds.map((kind) => {
      // Both draws are made for each kind, so that leaving one out changes nothing about the others.
      const isOn = random.chance(share);
      const intensity = 0.1 + 0.9 * random.share();
      const isWanted = (isOn || limits.required.includes(kind)) && !limits.disabled.includes(kind);
      return [kind, isWanted ? intensity : 0];
    }),
  ) as Record<FaultKind, number>;
  // An exchange needs hosts to exchange with.
  const needed = founders + Math.max(spare, faults.swap > 0 ? 2 : 0);
  const hosts = Math.min(7, limits.hostsMax, needed);
  return {
    hosts,
    founders: Math.min(founders, hosts),
    clients: random.between(2, 6),
    watchers: random.between(1, 3),
    keys: random.between(2, 8),
    thinkUs: random.pick([1_000, 5_000, 20_000]),
    leaseShare: random.pick([0, 0.1, 0.3]),
    nodeShare: random.pick([0, 0, 0.2]),
    transactionShare: random.pick([0.1, 0.3]),
    faults,
  };
}

export function activeFaults(profile: Profile): FaultKind[] {
  return faultKinds.filter((kind) => profile.faults[kind] > 0);
}

export function describeProfile(profile: Profile): string {
  const faults = activeFaults(profile).map((kind) => `${kind} ${profile.faults[kind].toFixed(2)}`);
  return (
    `${profile.founders} of ${profile.hosts} hosts found the group, ${profile.clients} clients, ${profile.keys} keys; ` +
    `faults: ${faults.length === 0 ? 'none' : faults.join(', ')}`
  );
}
