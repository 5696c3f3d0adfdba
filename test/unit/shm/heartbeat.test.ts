import { describe, expect, it } from 'vitest';
import { createHeartbeats, Heartbeat, HeartbeatMonitor } from '../../../src/shm/heartbeat.ts';

describe('HeartbeatMonitor', () => {
  it('stalled() is false while the worker beats and true once it did not for longer than the limit', () => {
    const buffer = createHeartbeats(2);
    const heartbeat = new Heartbeat(buffer, 1);
    const monitor = new HeartbeatMonitor(buffer);
    for (let nowMs = 0; nowMs < 5000; nowMs += 500) {
      heartbeat.beat();
      expect(monitor.stalled(1, nowMs, 1000)).toBe(false);
    }
    expect(monitor.stalled(1, 5000, 1000)).toBe(false);
    expect(monitor.stalled(1, 5500, 1000)).toBe(false);
    expect(monitor.ageMs(1, 5500)).toBe(1000);
    expect(monitor.stalled(1, 5501, 1000)).toBe(true);
    heartbeat.beat();
    expect(monitor.stalled(1, 5600, 1000)).toBe(false);
  });

  it('ageMs() keeps workers apart', () => {
    const buffer = createHeartbeats(2);
    const first = new Heartbeat(buffer, 0);
    const monitor = new HeartbeatMonitor(buffer);
    monitor.reset(0, 0);
    monitor.reset(1, 0);
    first.beat();
    expect(monitor.ageMs(0, 700)).toBe(0);
    expect(monitor.ageMs(1, 700)).toBe(700);
  });

  it('reset() gives a replaced worker its full time, and its first beat counts', () => {
    const buffer = createHeartbeats(1);
    new Heartbeat(buffer, 0).beat();
    const monitor = new HeartbeatMonitor(buffer);
    monitor.reset(0, 0);
    expect(monitor.stalled(0, 900, 1000)).toBe(false);
    expect(monitor.stalled(0, 1800, 1000)).toBe(true);
    monitor.reset(0, 1900);
    expect(monitor.stalled(0, 2800, 1000)).toBe(false);
    new Heartbeat(buffer, 0).beat();
    expect(monitor.stalled(0, 3700, 1000)).toBe(false);
  });

  it('stalled() does not blame the worker when the supervisor did not look itself', () => {
    const buffer = createHeartbeats(1);
    const monitor = new HeartbeatMonitor(buffer);
    expect(monitor.stalled(0, 0, 1000)).toBe(false);
    expect(monitor.stalled(0, 60_000, 1000)).toBe(false);
    expect(monitor.stalled(0, 60_900, 1000)).toBe(false);
    expect(monitor.stalled(0, 61_100, 1000)).toBe(true);
  });

  it('beat() goes on over the wrap of its counter', () => {
    const buffer = createHeartbeats(1);
    new Int32Array(buffer)[0] = 2 ** 31 - 1;
    const heartbeat = new Heartbeat(buffer, 0);
    const monitor = new HeartbeatMonitor(buffer);
    monitor.reset(0, 0);
    for (let nowMs = 1; nowMs < 4; nowMs++) {
      heartbeat.beat();
      expect(monitor.ageMs(0, nowMs)).toBe(0);
    }
  });
});
