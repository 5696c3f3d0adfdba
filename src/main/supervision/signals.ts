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

/** Calls `stop` at the first signal and `abort` at the second. Returns what removes the handlers. */
export function onStopSignals(stop: (signal: StopSignal) => void, abort: (signal: StopSignal) => void): () => void {
  let stopping = false;
  const handler = (signal: StopSignal): void => {
    if (stopping) {
      abort(signal);
      return;
    }
    stopping = true;
    stop(signal);
  };
  for (const signal of SIGNALS) process.on(signal, handler);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handler);
  };
}
