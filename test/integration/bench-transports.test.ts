/** `ringmq bench` over each transport and with sessions that are kept, against a broker as users run it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { BenchResult } from '../../src/cli/bench/report.ts';
import { BrokerProcess } from '../support/broker-process.ts';
import { TestAuthority } from '../support/certificates.ts';
import { runCli } from '../unit/cli/support.ts';

const setupLimitMs = 60_000;
let authority: TestAuthority;
let broker: BrokerProcess;

beforeAll(async () => {
  authority = new TestAuthority();
  const { certificate, key } = authority.issue('server', ['IP:127.0.0.1']);
  const files = ['--tls-certificate', certificate, '--tls-key', key];
  broker = await BrokerProcess.start({
    flags: ['--mqtt-tls', '127.0.0.1:0', '--mqtt-ws', '127.0.0.1:0', ...files],
  });
}, setupLimitMs);

afterAll(async () => {
  await broker?.stop();
  authority?.remove();
});

async function bench(listener: string, ...flags: string[]): Promise<BenchResult> {
  const short = ['--duration', '0.3', '--warm-up', '0.1', '--json', '--quiet', '--strict'];
  const { exitCode, out, err } = await runCli(['bench', '-p', `${broker.port(listener)}`, ...flags, ...short]);
  expect(exitCode, err).toBe(0);
  return JSON.parse(out) as BenchResult;
}

it.each([
  ['TLS, with the authority', 'mqtt-tls', () => ['--cafile', authority.ca]],
  ['TLS, unchecked', 'mqtt-tls', () => ['--insecure', '-V', '5']],
  ['WebSocket', 'mqtt-ws', () => ['--web-socket']],
  ['kept sessions', 'mqtt', () => ['--durable']],
  ['kept sessions of MQTT 5', 'mqtt', () => ['--durable', '-V', '5']],
])('bench over %s loses nothing', async (_, listener, flags) => {
  const result = await bench(listener, '1:1', '-c', '2', '-q', '1', ...flags());
  expect(result).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, disconnects: {}, problems: [] });
  expect(result.received).toBe(result.sent);
  expect(result.sent).toBeGreaterThan(50);
});

it('bench carries messages larger than a read over TLS and WebSocket', async () => {
  for (const [listener, flag] of [
    ['mqtt-tls', '--insecure'],
    ['mqtt-ws', '--web-socket'],
  ] as const) {
    const result = await bench(listener, '1:1', '-q', '1', '-w', '2', '-s', '300000', flag);
    expect(result, listener).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, problems: [] });
    expect(result.received).toBeGreaterThan(0);
  }
});

it('bench refuses flags that do not go together', async () => {
  for (const [flags, problem] of [
    [['--insecure', '--web-socket'], 'not both'],
    [['--durable'], 'add --qos 1 or 2'],
    [['--cafile', '/nowhere'], 'Cannot read --cafile "/nowhere"'],
  ] as const) {
    const { exitCode, err } = await runCli(['bench', '1:1', ...flags]);
    expect(exitCode).toBe(1);
    expect(err).toContain(problem);
  }
});

it('bench says that a server is not the one that was asked for', async () => {
  const stranger = new TestAuthority();
  try {
    const flags = ['-p', `${broker.port('mqtt-tls')}`, '--cafile', stranger.ca, '--quiet'];
    const { exitCode, err } = await runCli(['bench', '1:1', ...flags]);
    expect(exitCode).toBe(2);
    expect(err).toMatch(/certificate|CERT|SIGNATURE/i);
  } finally {
    stranger.remove();
  }
});
