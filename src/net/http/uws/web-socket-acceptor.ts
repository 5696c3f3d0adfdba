/**
 * Accepts connections for WebSockets on the main thread: an app without routes of its own that gives each accepted
 * socket to the next child app, which lives on a worker.
 *
 * The acceptor holds the address of each child app. A worker therefore leaves before its app goes: see `../leave.ts`.
 */

import {
  App,
  type AppDescriptor,
  type HttpResponse,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { MessageChannel } from 'node:worker_threads';
import { acknowledgeLeave } from '../leave.ts';
import type { ListenAddress, WebSocketAcceptor, WebSocketTransport } from '../port.ts';
import { bind } from './listener.ts';

/** Worker to main: takes connections with this app from now on, or takes none any more. */
type WorkerMessage = { readonly join: AppDescriptor } | 'leave';

export async function acceptWebSockets(options: ListenAddress): Promise<WebSocketAcceptor> {
  const app = App();
  app.filter(refuse);
  const socket = await bind(app, options.host, options.port);
  let workerCount = 0;
  return {
    host: options.host,
    port: us_socket_local_port(socket),
    get workerCount() {
      return workerCount;
    },
    addWorker: (): WebSocketTransport => {
      const { port1, port2 } = new MessageChannel();
      const left = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
      let descriptor: AppDescriptor | undefined;
      const leave = (): void => {
        if (descriptor === undefined) return;
        app.removeChildAppDescriptor(descriptor);
        descriptor = undefined;
        workerCount--;
      };
      port1.on('message', (message: WorkerMessage) => {
        if (message === 'leave') {
          leave();
          acknowledgeLeave(left);
          return;
        }
        descriptor = message.join;
        app.addChildAppDescriptor(descriptor);
        workerCount++;
      });
      port1.on('close', leave);
      // The listening socket is what keeps the main thread alive, not its workers' channels.
      port1.unref();
      return { port: port2, left };
    },
    stop: async () => {
      us_listen_socket_close(socket);
      app.close();
    },
  };
}

/** Without a worker a connection arrives at the acceptor itself, and is closed when it opens (the change is 1). */
function refuse(response: HttpResponse, change: unknown): void {
  if (change === 1) response.close();
}
