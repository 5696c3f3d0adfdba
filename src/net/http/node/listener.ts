/** Plain HTTP on `node:http`. Lives on the main thread; made by the adapter. */
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { listenFailed } from '../listen-failed.ts';
import type { HttpListener, HttpListenerOptions } from '../port.ts';
import { asClosingMessage, failure, RouteTable } from '../routing.ts';
import { createServer } from './create-server.ts';
import { answer } from './request.ts';

/** How often Node looks for requests that are overdue; an upper bound, shorter limits are looked at more often. */
const CHECK_INTERVAL_MS_MAX = 1_000;

export async function listen(options: HttpListenerOptions): Promise<HttpListener> {
  const { limits } = options;
  const routes = new RouteTable(options.routes, options.onHandlerError);
  let stopping = false;
  const server = createServer({
    headersTimeout: limits.requestTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    // Node adds a second to what it tells the client, which would make the limit another one than was asked for.
    keepAliveTimeoutBuffer: 0,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS_MAX, Math.ceil(limits.requestTimeoutMs / 4)),
    noDelay: true,
  });
  server.maxConnections = limits.connectionsMax;
  server.on('request', (message, response) => answer(message, response, routes, limits.bodyBytesMax, () => stopping));
  server.on('clientError', refuseMalformed);
  await bind(server, options.host, options.port);
  return {
    host: options.host,
    port: (server.address() as AddressInfo).port,
    stop: async (graceMs) => {
      stopping = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

async function bind(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenFailed(host, port, error)));
    server.listen(port, host, resolve);
  });
  server.removeAllListeners('error');
}

/** What the parser refused: the request is malformed, its headers are too large, or it did not arrive in time. */
export function refuseMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
  // After a reset, or when a response is on its way already, nothing sensible can be written.
  if (error.code === 'ECONNRESET' || !socket.writable || ((socket as Socket).bytesWritten ?? 0) > 0) {
    socket.destroy();
    return;
  }
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  socket.end(asClosingMessage(failure(status)), () => socket.destroy());
}
