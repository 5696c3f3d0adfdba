/**
 * What the queue services take from outside: time, timers, chance and the turn of the loop. Nothing else in this folder reads a
 * clock. Thread: the owner of the services; made by whoever hosts them, and by tests with a time of their own.
 */
import { TimingWheel, WheelTimer } from '../../std/timing-wheel.ts';

export interface QueueClock {
  /** Wall time in milliseconds since 1970: lifetimes, due times that are stored. */
  now(): number;
  /** Milliseconds that never go back: time-outs in memory. */
  monotonic(): number;
}

export interface QueueContext {
  readonly clock: QueueClock;
  /** Advanced by its owner. Time-outs are as exact as its tick. */
  readonly timers: TimingWheel;
  /** In [0, 1): jitter. */
  readonly random: () => number;
  /** Runs `task` after the present turn: what was asked in one turn is stored as one. */
  readonly defer: (task: () => void) => void;
}

/** A timer that is made once and started again and again. */
export function timerOf(callback: () => void): WheelTimer {
  return new WheelTimer(callback);
}

/** The context of a thread that has nothing special, with a wheel that its owner must advance by `clock.monotonic()`. */
export function systemContext(clock: QueueClock, tickMs = 10): QueueContext {
  return { clock, timers: new TimingWheel(tickMs), random: Math.random, defer: (task) => setImmediate(task) };
}
