// A few rounds of kill -9 under load, and a broker without durable sessions, which they must find out.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { testSeed } from '../support/seed.ts';
import { bridgeKillRounds } from './bridge-rounds.ts';
import { mqttKillRounds } from './kill-rounds.ts';
import { offlineRun } from './offline-run.ts';
import { storedRun } from './stored-run.ts';

async function rounds(count: number, settings: Record<string, unknown> = {}) {
  const data = mkdtempSync(join(tmpdir(), 'ringmq-mqtt-'));
  try {
    const broker = { settings };
    const result = await mqttKillRounds({
      rounds: count,
      seed: testSeed,
      loadMsMax: 300,
      data,
      broker,
      say: () => undefined,
    });
    return result;
  } finally {
    rmSync(data, { recursive: true });
  }
}

it('what was acknowledged arrives over kill -9: 3 rounds', { timeout: 120_000 }, async () => {
  const { problems, received } = await rounds(3);
  expect(problems, `seed ${testSeed}`).toEqual([]);
  expect(received).toBeGreaterThan(0);
});

it('a broker that keeps sessions in memory alone is found out', { timeout: 120_000 }, async () => {
  const { problems } = await rounds(3, { 'sessions.durable': false });
  expect(problems.join()).toContain('session is gone');
});

it('what goes over a bridge with QoS 2 arrives once over kill -9 of both brokers: 2 rounds', {
  timeout: 120_000,
}, async () => {
  const data = mkdtempSync(join(tmpdir(), 'ringmq-bridge-rounds-'));
  try {
    const options = { rounds: 2, seed: testSeed, loadMsMax: 200, data, say: () => undefined };
    const { problems, received } = await bridgeKillRounds(options);
    expect(problems, `seed ${testSeed}`).toEqual([]);
    expect(received).toBeGreaterThan(0);
  } finally {
    rmSync(data, { recursive: true });
  }
});

it('messages for sessions that are away are written once, and are there when they come back', {
  timeout: 120_000,
}, async () => {
  const { bytesWritten, received } = await offlineRun({ sessions: 40, messages: 200, comeBack: 3 });
  expect(bytesWritten).toBeGreaterThan(0);
  expect(received).toBe(600);
});

it('stored sessions and retained values are served again after kill -9', { timeout: 120_000 }, async () => {
  const { resumed, retainedFound, problems } = await storedRun({
    sessions: 200,
    retained: 200,
    samples: 20,
    say: () => undefined,
  });
  expect(problems).toEqual([]);
  expect([resumed, retainedFound]).toEqual([20, 20]);
});
