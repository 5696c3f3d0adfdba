import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { guardHost } from '../../../../src/admin/api/host-guard.ts';
import { json } from '../../../../src/admin/api/response.ts';
import { loadHttpAdapter } from '../../../../src/net/http/choose.ts';

function statusFor(port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.get({ port, host: '127.0.0.1', path: '/thing', headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on('error', reject);
  });
}

describe('guardHost()', () => {
  it('answers to addresses and localhost, and refuses names that a web page could carry', async () => {
    const adapter = await loadHttpAdapter('node');
    const routes = guardHost([{ method: 'GET', path: '/thing', handler: () => json(200, {}) }]);
    const limits = { bodyBytesMax: 1024, connectionsMax: 10, requestTimeoutMs: 5_000, keepAliveTimeoutMs: 5_000 };
    const listener = await adapter.listen({
      host: '127.0.0.1',
      port: 0,
      routes,
      limits,
      onHandlerError: () => undefined,
    });
    try {
      const { port } = listener;
      for (const host of [
        `127.0.0.1:${port}`,
        '127.0.0.1',
        'localhost',
        `LocalHost:${port}`,
        `[::1]:${port}`,
        '10.1.2.3:80',
      ]) {
        expect(await statusFor(port, host), host).toBe(200);
      }
      for (const host of [
        'evil.example',
        `evil.example:${port}`,
        'localhost.evil.example',
        '127.0.0.1.evil.example',
        '[evil]',
      ]) {
        expect(await statusFor(port, host), host).toBe(421);
      }
    } finally {
      await listener.stop(0);
    }
  });
});
