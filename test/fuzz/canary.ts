/**
 * A bad broker on purpose: a proxy in front of the broker that spoils one byte of what the witnesses receive. A harness
 * that does not fail with it is worth nothing.
 */
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import type { BrokerProcess } from '../support/broker-process.ts';

/** Bytes from the broker before the one that is spoilt: past the handshakes, early in the run. */
const spoiltAt = 3_000;

/** Starts the proxy; only the witnesses go through it. */
export async function spoil(broker: BrokerProcess): Promise<{ port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    const upstream = net.connect({ port: broker.port(), host: '127.0.0.1', noDelay: true });
    let passed = 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (chunk) => upstream.write(chunk));
    upstream.on('data', (chunk: Buffer) => {
      const at = spoiltAt - passed;
      passed += chunk.length;
      if (at >= 0 && at < chunk.length) chunk[at] ^= 0xff;
      client.write(chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
