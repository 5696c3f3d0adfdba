import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BenchResult } from '../../../../src/cli/bench/report.ts';
import {
  findFreePort,
  runCli,
  startAedes,
  startCli,
  startServer,
  startVersion5Broker,
  type TestBroker,
  until,
} from '../support.ts';

const short = ['--duration', '0.4', '--warm-up', '0.1', '--json', '--quiet'];

async function bench(
  port: number,
  ...flags: string[]
): Promise<{ exitCode: number; err: string; result: BenchResult }> {
  const run = await runCli(['bench', 'mqtt', ...flags, '-p', `${port}`, ...short]);
  return { ...run, result: (run.out === '' ? {} : JSON.parse(run.out)) as BenchResult };
}

/** Answers CONNECT and SUBSCRIBE of MQTT 3.1.1, and gives PUBLISH frames of the second client to `onPublish`. */
function startRelay(onPublish: (frame: Buffer, send: (bytes: Buffer) => void) => void): Promise<TestBroker> {
  let deliver: (bytes: Buffer) => void = () => undefined;
  return startServer((socket) => {
    let carry = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      carry = Buffer.concat([carry, chunk]);
      while (carry.length >= 2 && carry.length >= 2 + carry[1]) {
        const frame = carry.subarray(0, 2 + carry[1]);
        carry = carry.subarray(frame.length);
        if (frame[0] === 0x10) socket.write(Buffer.from([0x20, 2, 0, 0]));
        else if (frame[0] === 0x82) {
          deliver = (bytes) => void socket.write(bytes);
          socket.write(Buffer.from([0x90, 3, frame[2], frame[3], 0]));
        } else if (frame[0] >> 4 === 3) onPublish(frame, deliver);
      }
    });
  });
}

describe.concurrent('bench over MQTT 3.1.1', () => {
  let broker: TestBroker;

  beforeAll(async () => {
    broker = await startAedes();
  });
  afterAll(() => broker.stop());

  test.each(['0', '1', '2'])('bench 1:1 as fast as possible loses nothing with QoS %s', async (qos) => {
    const { exitCode, result } = await bench(broker.port, '1:1', '-q', qos, '--max-undelivered', '500');
    expect(exitCode).toBe(0);
    expect(result).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, disconnects: {}, problems: [] });
    expect(result.received).toBe(result.sent);
    expect(result.sent).toBeGreaterThan(100);
    expect(result.acknowledged).toBe(qos === '0' ? 0 : result.sent);
    expect(result.deliveryLatency.samples).toBeGreaterThan(0);
  });

  test('bench fan-out delivers each message to each subscriber', async () => {
    const { result } = await bench(broker.port, 'fan-out', '-c', '7', '-r', '200');
    expect(result.received).toBe(result.sent * 7);
    expect(result).toMatchObject({ lost: 0, subscribers: 7, publishers: 1 });
  });

  test('bench fan-in tells its publishers apart', async () => {
    const { result } = await bench(broker.port, 'fan-in', '-c', '20', '-r', '500', '--ramp-up', '0.2', '--strict');
    expect(result).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, publishers: 20, topics: 20, problems: [] });
    expect(result.notSent).toBe(0);
    expect(result.sendDelay.samples).toBeGreaterThan(0);
  });

  test('bench carries payloads larger than a read, and ones too short for numbers', async () => {
    const large = await bench(broker.port, '1:1', '-s', '400000', '--max-undelivered', '4');
    expect(large.result).toMatchObject({ lost: 0, duplicated: 0, reordered: 0 });
    expect(large.result.received).toBeGreaterThan(0);
    const small = await bench(broker.port, '1:1', '-s', '0', '-r', '100');
    expect(small.result).toMatchObject({ lost: 0, duplicated: -1, reordered: -1 });
  });

  test('bench connect holds its connections and pub needs no subscriber', async () => {
    const connected = await bench(broker.port, 'connect', '-c', '50', '--connect-rate', '500');
    expect(connected.result.connections).toMatchObject({ asked: 50, ready: 50, failures: {} });
    expect(connected.result.connections.latency.samples).toBe(50);
    const published = await bench(broker.port, 'pub', '-c', '2', '-q', '1', '-w', '8');
    expect(published.result.acknowledgedPerS).toBeGreaterThan(0);
    expect(published.result.acknowledgeLatency.samples).toBeGreaterThan(0);
  });

  test('bench --pid reports the CPU time of a process', async () => {
    const { result } = await bench(broker.port, '1:1', '--pid', `${process.pid}`);
    expect(result.broker?.cpuUsPerMessage).toBeGreaterThan(0);
    expect(result.broker?.residentKib).toBeGreaterThan(1000);
    expect((await bench(broker.port, '1:1', '--pid', '99999999')).exitCode).toBe(2);
  });

  test('bench sub ends with 2 when it sees no message', async () => {
    const { exitCode, err } = await bench(broker.port, 'sub', '-t', 'silent');
    expect(exitCode).toBe(2);
    expect(err).toBe('ringmq: no message was received\n');
  });

  test('bench ends with 2 and the reason when it is refused or nobody listens', async () => {
    const refused = await bench(broker.port, '1:1', '-u', 'nobody', '-P', 'x');
    expect(refused.exitCode).toBe(2);
    expect(refused.err).toContain('refused: not authorised (code 5)');
    const absent = await bench(await findFreePort(), 'connect', '-c', '3');
    expect(absent.exitCode).toBe(2);
    expect(absent.err).toContain('3 x ECONNREFUSED');
  });

  test('bench says how many files it may open when that is too few', async () => {
    const { exitCode, err } = await bench(broker.port, 'connect', '-c', '1000000');
    expect(exitCode).toBe(2);
    expect(err).toMatch(/Cannot open 1000000 connections: this process may open \d+ files/);
  });

  test('bench stops at a signal and still reports', async () => {
    const run = startCli(['bench', '-p', `${broker.port}`, '-d', '600', '-r', '100']);
    await until(() => run.io.err().includes('measuring'));
    run.interrupt();
    const { exitCode, out } = await run.done;
    expect(exitCode).toBe(0);
    expect(out).toContain('integrity     0 lost');
  });
});

describe('bench over MQTT 5', () => {
  test('bench speaks MQTT 5 with each QoS', async () => {
    const broker = await startVersion5Broker();
    for (const qos of ['0', '1', '2']) {
      const { result } = await bench(broker.port, '1:1', '-V', '5', '-q', qos, '-r', '300');
      expect(result).toMatchObject({ protocol: 'MQTT 5', lost: 0, duplicated: 0, problems: [] });
      expect(result.received).toBe(result.sent);
    }
    await broker.stop();
  });
});

describe.concurrent('bench with a broker that misbehaves', () => {
  test('bench sees lost, duplicated and reordered messages', async () => {
    let number = 0;
    let held: Buffer | null = null;
    const broker = await startRelay((frame, send) => {
      number++;
      if (number % 50 === 10) return;
      if (number % 50 === 20) {
        held = Buffer.from(frame);
        return;
      }
      send(frame);
      if (number % 50 === 30) send(frame);
      if (held === null) return;
      send(held);
      held = null;
    });
    const { exitCode, err, result } = await bench(broker.port, '1:1', '-r', '1000', '--drain', '0.2', '--strict');
    await broker.stop();
    const cycles = result.sent / 50;
    expect(exitCode).toBe(2);
    for (const seen of [result.lost, result.duplicated, result.reordered]) {
      expect(Math.abs(seen - cycles)).toBeLessThanOrEqual(1);
    }
    expect(err).toContain('messages lost');
  });

  test('bench goes on past a broker that drops everything for a while', async () => {
    let number = 0;
    const broker = await startRelay((frame, send) => {
      if (number++ >= 100) send(frame);
    });
    const run = await runCli([
      'bench',
      '-p',
      `${broker.port}`,
      '-d',
      '2.5',
      '--max-undelivered',
      '50',
      '--json',
      '--quiet',
      '--drain',
      '0.1',
    ]);
    await broker.stop();
    const result = JSON.parse(run.out) as BenchResult;
    expect(result.lost).toBe(100);
    expect(result.received).toBeGreaterThan(100);
  });

  test('bench counts disconnections with their reason', async () => {
    let number = 0;
    const broker = await startServer((socket) => {
      socket.once('data', () => {
        socket.write(Buffer.from([0x20, 2, 0, 0]));
        if (++number === 2) setTimeout(() => socket.destroy(), 100);
      });
    });
    const { exitCode, result } = await bench(broker.port, 'connect', '-c', '3', '--strict');
    await broker.stop();
    expect(exitCode).toBe(2);
    expect(Object.values(result.disconnects)).toEqual([1]);
    expect(result.problems).toEqual(['1 disconnections']);
  });
});
