/** Makes a failing run smaller: fewer steps, fewer kinds of faults, fewer hosts, as long as the same promise is broken. */
import type { Mutation } from './mutation.ts';
import { activeFaults, type FaultKind, noLimits, type ProfileLimits } from './profile.ts';
import { type RunReport, simulate } from './world.ts';

export interface Shrunk {
  readonly report: RunReport;
  readonly limits: ProfileLimits;
  readonly runs: number;
}

/** Tries at most `runsMax` runs. */
export function shrink(
  failed: RunReport,
  options: { readonly limits?: ProfileLimits; readonly mutation?: Mutation | null; readonly runsMax?: number },
): Shrunk {
  const { mutation = null, runsMax = 60 } = options;
  const { seed, violation } = failed;
  let limits = options.limits ?? noLimits;
  let best = failed;
  let runs = 0;
  const attempt = (steps: number, tried: ProfileLimits): boolean => {
    if (runs >= runsMax) return false;
    runs++;
    const report = simulate({ seed, steps, limits: tried, mutation });
    if (report.violation?.invariant !== violation?.invariant) return false;
    best = report;
    limits = tried;
    return true;
  };
  const shorten = (): void => {
    // A run that failed at event n needs no more steps than that.
    if (best.events < best.steps) attempt(best.events, limits);
    for (let cut = Math.floor(best.steps / 2); cut >= 50; cut = Math.floor(cut / 2)) {
      while (best.steps > cut && attempt(best.steps - cut, limits));
    }
  };
  shorten();
  for (const kind of activeFaults(failed.profile)) {
    attempt(best.steps, { ...limits, disabled: [...limits.disabled, kind], required: without(limits.required, kind) });
  }
  for (const hostsMax of [1, 2, 3, 4, 5]) {
    if (hostsMax < best.profile.hosts && attempt(best.steps, { ...limits, hostsMax })) break;
  }
  shorten();
  return { report: best, limits, runs };
}

function without(kinds: readonly FaultKind[], kind: FaultKind): FaultKind[] {
  return kinds.filter((each) => each !== kind);
}
