import { expect, it } from 'vitest';
import { exitCodeOf, onStopSignals } from '../../../../src/main/supervision/signals.ts';

it('onStopSignals() stops at the first signal and aborts at the next, whichever they are', () => {
  const before = process.listenerCount('SIGTERM');
  const calls: string[] = [];
  const remove = onStopSignals(
    (signal) => calls.push(`stop ${signal}`),
    (signal) => calls.push(`abort ${signal}`),
  );
  process.emit('SIGTERM', 'SIGTERM');
  process.emit('SIGINT', 'SIGINT');
  process.emit('SIGINT', 'SIGINT');
  expect(calls).toEqual(['stop SIGTERM', 'abort SIGINT', 'abort SIGINT']);
  remove();
  expect(process.listenerCount('SIGTERM')).toBe(before);
});

it('onStopSignals() takes the echo of the first signal for the same one', () => {
  const calls: string[] = [];
  let nowMs = 0;
  const remove = onStopSignals(
    () => calls.push('stop'),
    () => calls.push('abort'),
    () => nowMs,
  );
  process.emit('SIGINT', 'SIGINT');
  nowMs = 499;
  process.emit('SIGINT', 'SIGINT');
  expect(calls).toEqual(['stop']);
  nowMs = 500;
  process.emit('SIGINT', 'SIGINT');
  expect(calls).toEqual(['stop', 'abort']);
  remove();
});

it('exitCodeOf() is what a shell reports', () => {
  expect([exitCodeOf('SIGINT'), exitCodeOf('SIGTERM')]).toEqual([130, 143]);
});
