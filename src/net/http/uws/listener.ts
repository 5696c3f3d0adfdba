/** Plain HTTP on uWebSockets.js. Lives on the main thread; made by the adapter. */
import {
  App,
  type TemplatedApp,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { listenFailed } from '../listen-failed.ts';
import type { HttpListener, HttpListenerOptions } from '../port.ts';
import { RouteTable } from '../routing.ts';
import { OpenConnections } from './open-connections.ts';
import { answer } from './request.ts';
import { RequestsInProgress } from './requests-in-progress.ts';

/** `LIBUS_LISTEN_EXCLUSIVE_PORT`, which the library's types declare in another way than it exports it. */
const LISTEN_EXCLUSIVE = 1;
/** How often a stopping listener looks whether the last request has been answered. */
const STOP_POLL_MS = 5;

export async function listen(options: HttpListenerOptions): Promise<HttpListener> {
  const { limits } = options;
  const routes = new RouteTable(options.routes, options.onHandlerError);
  const app = App();
  const open: OpenConnections = new OpenConnections(app, () => open.count < limits.connectionsMax);
  const socket = await bind(app, options.host, options.port);
  const inProgress = new RequestsInProgress(limits.requestTimeoutMs);
  let stopping = false;
  const answering = { routes, bodyBytesMax: limits.bodyBytesMax, inProgress, closing: () => stopping };
  app.any('/*', (response, request) => answer(response, request, answering));
  return {
    host: options.host,
    port: us_socket_local_port(socket),
    stop: async (graceMs) => {
      if (stopping) return;
      stopping = true;
      us_listen_socket_close(socket);
      const deadlineMs = performance.now() + graceMs;
      while (inProgress.count > 0 && performance.now() < deadlineMs) {
        await new Promise((resolve) => setTimeout(resolve, STOP_POLL_MS));
      }
      inProgress.stop();
      app.close();
    },
  };
}

/** Listens with `app`, which is closed when that fails. */
export async function bind(app: TemplatedApp, host: string, port: number): Promise<us_listen_socket> {
  return new Promise((resolve, reject) => {
    // Without the option the library shares the port with whoever listens there already.
    app.listen(host, port, LISTEN_EXCLUSIVE, (socket) => {
      if (socket !== false) {
        resolve(socket);
        return;
      }
      app.close();
      reject(listenFailed(host, port));
    });
  });
}
