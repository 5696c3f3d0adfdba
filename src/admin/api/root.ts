/** `GET /`: who answers here and where the rest is. Lives on the main thread; registered by `routes.ts`. */
import type { HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';

export interface Identity {
  readonly name: string;
  readonly version: string;
}

export function rootRoute(identity: Identity, links: readonly string[]): HttpRoute {
  const body = { name: identity.name, version: identity.version, links };
  return { method: 'GET', path: '/', handler: () => json(200, body) };
}
