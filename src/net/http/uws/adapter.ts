/**
 * The adapter on uWebSockets.js. Importing this file loads its native module, which fails where the C library is too
 * old; `choose.ts` is the only importer.
 */
import type { HttpAdapter } from '../port.ts';
import { listen } from './listener.ts';
import { acceptWebSockets } from './web-socket-acceptor.ts';
import { serveWebSockets } from './web-socket-worker.ts';

export const uwsAdapter: HttpAdapter = {
  name: 'uws',
  workersTerminable: false,
  listen,
  acceptWebSockets,
  serveWebSockets,
};
