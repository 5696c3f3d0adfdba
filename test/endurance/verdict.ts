/** What is wrong with a run of the endurance program, in sentences; none when everything held. Pure. */
import type { EnduranceOptions, EnduranceResult } from './connections-run.ts';
import { compareLatency, judgeGrowth, noiseMax, ratioMax } from './judge.ts';

/** The load must have been there: so much of the churn that was asked for, so many of the messages. */
const churnShareMin = 0.9;
const arrivedShareMin = 0.99;

export function findFaults(options: EnduranceOptions, result: EnduranceResult): string[] {
  const { load, problems, churnSeconds } = result;
  const wanted = options.connections * options.churnShare * churnSeconds;
  const faults = [...problems];
  if (load.reconnects < wanted * churnShareMin) {
    faults.push(`the load did not keep up: ${load.reconnects} reconnects of ${Math.round(wanted)}`);
  }
  if (load.open < options.connections * arrivedShareMin) faults.push(`${load.open} connections are there at the end`);
  if (load.acknowledged < load.published * arrivedShareMin) {
    faults.push(`${load.acknowledged} of ${load.published} publications were acknowledged`);
  }
  if (load.verified < load.published * 0.9)
    faults.push(`${load.verified} of ${load.published} messages were seen to arrive`);
  if (load.published === 0 || load.delivered === 0) faults.push('nothing was delivered to the connections');
  if (result.probesReceived === 0) faults.push('no probe arrived');
  if (result.rounds.length === 0) faults.push('no round was played');
  return [...faults, ...slowFaults(result), ...growthFaults(result), ...latencyFaults(result)];
}

/** Subscribers that were not slow say nothing about slow ones. */
function slowFaults({ droppedForSlow, droppedOtherwise, pooled, slowBytes }: EnduranceResult): string[] {
  const faults: string[] = [];
  if (compareLatency(pooled) !== null) {
    if (droppedForSlow === 0) faults.push('the slow subscribers never made the broker drop anything');
    if (slowBytes === 0) faults.push('the subscriber of one byte a second read nothing');
  }
  if (droppedOtherwise > 0) faults.push(`${droppedOtherwise} messages were dropped while nobody was slow`);
  return faults;
}

function growthFaults({ samples }: EnduranceResult): string[] {
  return (judgeGrowth(samples) ?? [])
    .filter(({ growth, limit }) => growth > limit)
    .map(({ what, growth, limit }) => `${what} grew by ${Math.round(growth)}, allowed ${Math.round(limit)}`);
}

function latencyFaults({ pooled }: EnduranceResult): string[] {
  return (compareLatency(pooled) ?? []).flatMap(({ name, ratio, noise }) => {
    if (noise > noiseMax) {
      return [`${name}: cannot compare p99 on a machine this busy, it differs by ${noise.toFixed(2)} by itself`];
    }
    if (ratio <= ratioMax) return [];
    return [`${name}: p99 is ${ratio.toFixed(2)} times as long with slow subscribers, allowed ${ratioMax}`];
  });
}
