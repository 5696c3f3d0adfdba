/** The adapter on `node:http` and `ws`: works wherever Node does. Each half is imported on the thread that needs it. */
import type { HttpAdapter } from '../port.ts';

export const nodeAdapter: HttpAdapter = {
  name: 'node',
  workersTerminable: true,
  listen: async (options) => (await import('./listener.ts')).listen(options),
  acceptWebSockets: async (options) => (await import('./web-socket-acceptor.ts')).acceptWebSockets(options),
  serveWebSockets: async (transport, options) =>
    (await import('./web-socket-worker.ts')).serveWebSockets(transport, options),
};
