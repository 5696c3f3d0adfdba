/**
 * Keeps web pages away from a node that listens on loopback: a page can let the browser resolve its own name to 127.0.0.1 (DNS
 * rebinding) and then read and write here as if it were the same site. Such a request carries the page's name as `Host`. Main thread.
 */
import { isIP } from 'node:net';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';

/** The routes, refusing with 421 what is not addressed to an IP address or `localhost`. For listeners on loopback. */
export function guardHost(routes: readonly HttpRoute[]): readonly HttpRoute[] {
  return routes.map((route) => ({
    ...route,
    handler: (request: HttpRequest): HttpResponse | Promise<HttpResponse> =>
      isLocalHost(request.headers.get('host') ?? '') ? route.handler(request) : refusal,
  }));
}

const refusal = json(421, {
  code: 'HOST_FORBIDDEN',
  message: 'Cannot answer: this address is for this machine, to be reached by IP address or as localhost',
});

/** A client that names no host (HTTP/1.0) is no browser. */
function isLocalHost(host: string): boolean {
  if (host === '') return true;
  const bracketed = /^\[(.*)\](?::\d+)?$/.exec(host);
  if (bracketed !== null) return isIP(bracketed[1]) === 6;
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || isIP(name) === 4;
}
