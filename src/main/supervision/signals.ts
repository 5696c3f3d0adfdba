/**
 * SIGTERM and SIGINT end the broker politely, a second one at once. Lives on the main thread; only the program installs
 * them (`main.ts`), never the library: the signals of a host program are its own.
 */
import { constants } from 'node:os';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
type StopSignal = (typeof SIGNALS)[number];

/** What a shell reports for a process that a signal ended: 128 and the number of the signal. */
export function exitCodeOf(signal: StopSignal): number {
  return 128 + constants.signals[signal];
}

/** One Ctrl-C under npm arrives twice, from the terminal and from npm; within this time it counts once. */
const echoMs = 500;

/**
 * Calls `stop` at the first signal and `abort` at the second. Returns what removes the handlers. `now` is a clock in ms.
 */
export function onStopSignals(
  stop: (signal: StopSignal) => void,
  abort: (signal: StopSignal) => void,
  now: () => number = () => performance.now(),
): () => void {
  let first: { signal: StopSignal; atMs: number } | null = null;
  const handler = (signal: StopSignal): void => {
    if (first === null) {
      first = { signal, atMs: now() };
      stop(signal);
    } else if (signal !== first.signal || now() - first.atMs >= echoMs) {
      abort(signal);
    }
  };
  for (const signal of SIGNALS) process.on(signal, handler);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handler);
  };
}
