/**
 * `$delayed/<when>/<topic>`: what a client publishes to for a message that is to be published later. Pure; connection workers.
 *
 *     when = seconds, with up to three decimals | seconds "s" | milliseconds "ms" | "@" time
 *
 * A time counts from 1970: seconds below 100,000,000,000, milliseconds from there on. As EMQX has it, a plain number that is more than
 * the longest delay is a time as well. A time in the past is the present.
 */

export const delayedPrefix = '$delayed/';

export interface DelayedTopic {
  /** Milliseconds since 1970. */
  readonly dueMs: number;
  /** What stands behind, not checked yet. */
  readonly topic: string;
}

/** Times before 2001-09-09 are not meant: a delay that is too long would be taken for one. */
const earliestTimeS = 1_000_000_000;
const milliseconds = 100_000_000_000;
const delayPattern = /^(\d{1,15})(?:\.(\d{1,3}))?(s|ms)?$/;
const timePattern = /^@(\d{1,15})(?:\.(\d{1,3}))?$/;

/** Why the path is none of the forms, for people; or what it says. */
export function parseDelayedTopic(path: string, nowMs: number, delayMsMax: number): DelayedTopic | string {
  const end = path.indexOf('/', delayedPrefix.length);
  if (end < 0 || end === path.length - 1) return 'a topic has to follow the delay: $delayed/<seconds>/<topic>';
  const when = path.slice(delayedPrefix.length, end);
  const dueMs = dueTime(when, nowMs, delayMsMax);
  if (typeof dueMs === 'string') return dueMs;
  return { dueMs, topic: path.slice(end + 1) };
}

function dueTime(when: string, nowMs: number, delayMsMax: number): number | string {
  const time = timePattern.exec(when);
  if (time !== null) return atTime(Number(time[1]), time[2], nowMs, delayMsMax);
  const delay = delayPattern.exec(when);
  if (delay === null) {
    return 'the delay is not a number of seconds, such as 30, 1.5 or 250ms, or a time since 1970, such as @1767225600';
  }
  const [, digits, decimals, unit] = delay;
  if (unit === 'ms') {
    if (decimals !== undefined) return 'milliseconds have no decimals';
    return after(Number(digits), nowMs, delayMsMax);
  }
  const seconds = Number(digits);
  const isTime = unit === undefined && seconds * 1000 > delayMsMax && seconds >= earliestTimeS;
  if (isTime) return atTime(seconds, decimals, nowMs, delayMsMax);
  return after(seconds * 1000 + thousandths(decimals), nowMs, delayMsMax);
}

function after(delayMs: number, nowMs: number, delayMsMax: number): number | string {
  return delayMs > delayMsMax ? tooFar(delayMsMax) : nowMs + delayMs;
}

function atTime(number: number, decimals: string | undefined, nowMs: number, delayMsMax: number): number | string {
  if (number < earliestTimeS) return `a time is counted from 1970, and at least ${earliestTimeS} seconds`;
  if (number >= milliseconds && decimals !== undefined) return 'milliseconds have no decimals';
  const dueMs = number >= milliseconds ? number : number * 1000 + thousandths(decimals);
  return dueMs - nowMs > delayMsMax ? tooFar(delayMsMax) : Math.max(dueMs, nowMs);
}

function thousandths(decimals: string | undefined): number {
  return decimals === undefined ? 0 : Number(decimals.padEnd(3, '0'));
}

function tooFar(delayMsMax: number): string {
  return `the delay is longer than ${Math.floor(delayMsMax / 1000)} seconds, the most that is allowed`;
}
