/** The library inside a program: it serves on free ports and leaves nothing behind. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, BrokerError, startBroker } from '../../src/main/index.ts';
import { protocols } from '../../src/protocols/registry.ts';
import { type Checkout, checkoutWithEcho } from '../support/echo/checkout.ts';

let checkout: Checkout;

beforeAll(() => {
  checkout = checkoutWithEcho();
});
afterAll(() => checkout.remove());

async function withBroker(
  options: Parameters<typeof startBroker>[0],
  use: (broker: Broker) => Promise<void>,
): Promise<void> {
  const broker = await startBroker(options);
  try {
    await use(broker);
  } finally {
    await broker.stop();
  }
}

describe('startBroker()', () => {
  it('serves, says goodbye at stop(), and leaves no thread, descriptor, timer, listener or file behind', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-library-'));
    const probe = fileURLToPath(new URL('../support/echo/library-probe.ts', import.meta.url));
    const door = join(checkout.path, 'src/main/index.ts');
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [probe, door], {
      cwd: folder,
      timeout: 20_000,
    });
    rmSync(folder, { recursive: true });
    const report = JSON.parse(stdout);
    expect(report.lines).toEqual(['hello', 'w0 line', '200', expect.stringContaining('true'), 'bye', 'end']);
    expect(report.after).toEqual(report.before);
    expect(report.after.folder).toEqual([]);
    expect(report.failed).toBe('LISTENER_FAILED');
    expect(stderr).toBe('');
  });

  it('has the placement centre at hand: writes, reads, watches, on the thread of the program', async () => {
    let ended = '';
    await withBroker({ http: false }, async ({ placement }) => {
      const key = Buffer.from('key');
      const set = { type: 'set', key, value: Buffer.from('value'), lease: 0, returnPrevious: false } as const;
      const command = { type: 'transaction', compares: [], success: [set], failure: [] } as const;
      const { promise: seen, resolve } = Promise.withResolvers<string>();
      placement.watch(
        { key, end: null, fromRevision: 1, withPrevious: false },
        {
          onBatch: ({ events }) => {
            if (events.length > 0) resolve(`${Buffer.from(events[0].item.value)}`);
          },
          onEnd: ({ code }) => {
            ended = code;
          },
        },
      );
      const options = { requestId: null, timeoutMs: 5_000 };
      expect(await placement.execute(command, options)).toMatchObject({ type: 'transaction', succeeded: true });
      expect(await seen).toBe('value');
      const range = {
        type: 'range',
        key,
        end: null,
        limit: 1,
        isReverse: false,
        keysOnly: false,
        countOnly: false,
      } as const;
      for (let round = 0; round < 50; round++) {
        for (const consistency of ['linearizable', 'serializable'] as const) {
          const result = await placement.query({ ...range, consistency }, options);
          expect(result).toMatchObject({ items: [{ value: Uint8Array.from(Buffer.from('value')) }] });
        }
        await new Promise((later) => setTimeout(later, 3));
      }
      expect(placement.status()).toMatchObject({ role: 'leader', fault: null });
    });
    expect(ended).toBe('STOPPED');
  });

  it('answers for its addresses by name, and for the first listener without one', async () => {
    await withBroker({}, async (broker) => {
      const [first] = broker.addresses.keys();
      expect(broker.port()).toBe(broker.addresses.get(first)?.port);
      expect(broker.url()).toBe(`${first}://127.0.0.1:${broker.port()}`);
      expect(broker.url('http')).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
      expect(() => broker.port('nowhere')).toThrow(BrokerError);
    });
  });

  it('opens no HTTP port when it is told so', async () => {
    await withBroker({ http: false }, async (broker) => {
      expect(broker.addresses.has('http')).toBe(false);
    });
  });

  it('rejects with CONFIG_INVALID for settings that it does not know', async () => {
    await expect(startBroker({ settings: { limits: { nothing: 1 } } })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('rejects with LISTENER_ADDRESS_IN_USE and ends what it had started', async () => {
    await withBroker({ http: false }, async (broker) => {
      const [protocol] = broker.addresses.keys();
      const listeners = [{ name: 'second', protocol, address: `127.0.0.1:${broker.port()}` }];
      await expect(startBroker({ settings: { listeners } })).rejects.toMatchObject({
        code: 'LISTENER_ADDRESS_IN_USE',
        canRetry: true,
      });
    });
  });

  it('compresses large metrics in the task pool for who accepts it', async () => {
    const listeners = Array.from({ length: 30 }, (_, index) => ({
      name: `listener-${index}`,
      protocol: protocols[0].name,
      address: '127.0.0.1:0',
    }));
    await withBroker({ settings: { listeners } }, async (broker) => {
      const plain = await get(`${broker.url('http')}/metrics`, {});
      expect(plain.encoding).toBeUndefined();
      const compressed = await get(`${broker.url('http')}/metrics`, { 'accept-encoding': 'gzip' });
      expect(compressed.encoding).toBe('gzip');
      expect(compressed.body.length).toBeLessThan(plain.body.length / 5);
      expect(gunzipSync(compressed.body).toString()).toContain('ringmq_workers_serving{worker="main"} 1\n');
    });
  });
});

function get(url: string, headers: Record<string, string>): Promise<{ encoding: string | undefined; body: Buffer }> {
  return new Promise((resolve, reject) => {
    http
      .get(url, { headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ encoding: response.headers['content-encoding'], body: Buffer.concat(chunks) }),
        );
      })
      .on('error', reject);
  });
}
