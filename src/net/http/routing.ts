/**
 * The route table of a listener and what it answers by itself: 404, 405, 413, 426, 500. The same code stands behind both
 * adapters, so that they cannot differ. Lives on the thread that answers: main for HTTP, workers for WebSocket listeners.
 */
import { BrokerError } from '../../std/errors.ts';
import type { HttpRequest, HttpResponse, HttpRoute, LaterHttpRoutes } from './port.ts';

/** Reason phrases of what this broker answers. `STATUS_CODES` of `node:http` would cost 25 ms of start-up to import. */
const statusTexts = new Map<number, string>([
  [200, 'OK'],
  [201, 'Created'],
  [202, 'Accepted'],
  [204, 'No Content'],
  [400, 'Bad Request'],
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'Not Found'],
  [405, 'Method Not Allowed'],
  [408, 'Request Timeout'],
  [409, 'Conflict'],
  [413, 'Content Too Large'],
  [415, 'Unsupported Media Type'],
  [422, 'Unprocessable Content'],
  [426, 'Upgrade Required'],
  [429, 'Too Many Requests'],
  [431, 'Request Header Fields Too Large'],
  [500, 'Internal Server Error'],
  [503, 'Service Unavailable'],
]);

/** A response that is ready for the wire: its headers were checked and its body is bytes. */
export interface FinalResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

export class RouteTable {
  /** Path, then method. */
  readonly #paths = new Map<string, Map<string, HttpRoute['handler']>>();
  readonly #webSocketPaths: ReadonlySet<string>;
  readonly #onError: (error: unknown, request: HttpRequest) => void;
  /** Null when the routes are there. */
  #later: LaterHttpRoutes | null = null;

  /** Throws `BrokerError` `HTTP_ROUTE_TWICE` when two routes have the same method and path. */
  constructor(
    routes: readonly HttpRoute[] | LaterHttpRoutes,
    onError: (error: unknown, request: HttpRequest) => void,
    webSocketPaths: Iterable<string> = [],
  ) {
    this.#onError = onError;
    this.#webSocketPaths = new Set(webSocketPaths);
    if (typeof routes === 'function') this.#later = routes;
    else this.#add(routes);
  }

  /** The answer to `request`: at once when the handler answers at once, else later. Never throws, never rejects. */
  answer(request: HttpRequest): FinalResponse | Promise<FinalResponse> {
    if (this.#later !== null) return this.#answerLater(this.#later, request);
    const methods = this.#paths.get(request.path);
    if (methods === undefined) {
      return this.#webSocketPaths.has(request.path) ? upgradeRequired() : failure(404);
    }
    const handler = methods.get(request.method) ?? (request.method === 'HEAD' ? methods.get('GET') : undefined);
    if (handler === undefined) return failure(405, { allow: allowOf(methods) });
    try {
      const response = handler(request);
      if (!(response instanceof Promise)) return finalise(response);
      return response.then(finalise).catch((error: unknown) => this.#failed(error, request));
    } catch (error) {
      return this.#failed(error, request);
    }
  }

  async #answerLater(load: LaterHttpRoutes, request: HttpRequest): Promise<FinalResponse> {
    try {
      const routes = await load();
      // Several requests may have waited.
      if (this.#later !== null) this.#add(routes);
      this.#later = null;
    } catch (error) {
      this.#paths.clear();
      return this.#failed(error, request);
    }
    return this.answer(request);
  }

  #add(routes: readonly HttpRoute[]): void {
    for (const { method, path, handler } of routes) {
      const methods = this.#paths.get(path) ?? new Map<string, HttpRoute['handler']>();
      if (methods.has(method)) {
        throw new BrokerError('HTTP_ROUTE_TWICE', `Cannot register "${method} ${path}": it is registered already`);
      }
      methods.set(method, handler);
      this.#paths.set(path, methods);
    }
  }

  #failed(error: unknown, request: HttpRequest): FinalResponse {
    this.#onError(error, request);
    return failure(500);
  }
}

/** RFC 9110, section 10.2.1: what the resource supports. */
function allowOf(methods: ReadonlyMap<string, unknown>): string {
  const names = [...methods.keys()];
  if (methods.has('GET')) names.push('HEAD');
  return names.sort().join(', ');
}

/** RFC 9110, section 15.5.22: the answer names the protocol to change to. */
function upgradeRequired(): FinalResponse {
  return failure(426, { upgrade: 'websocket', 'sec-websocket-version': '13' });
}

/** An answer made by the listener itself. */
export function failure(status: number, headers: Readonly<Record<string, string>> = {}): FinalResponse {
  const error = statusTexts.get(status) ?? 'Error';
  return finalise({
    status,
    headers: { 'content-type': 'application/json', ...headers },
    body: `${JSON.stringify({ error })}\n`,
  });
}

/** Throws when a header would break out of its line (response splitting) or the status is not a final one. */
function finalise(response: HttpResponse): FinalResponse {
  const { status } = response;
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new BrokerError('HTTP_RESPONSE_INVALID', `Cannot send status "${status}": it is not in 200..599`);
  }
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(response.headers ?? {})) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || !/^[\t\x20-\x7e]*$/.test(value)) {
      throw new BrokerError('HTTP_RESPONSE_INVALID', `Cannot send header "${name}": it has forbidden characters`);
    }
    headers.set(name.toLowerCase(), value);
  }
  const body = typeof response.body === 'string' ? Buffer.from(response.body) : (response.body ?? new Uint8Array(0));
  return { status, statusText: statusTexts.get(status) ?? 'Status', headers, body };
}

/** The whole answer as text of HTTP/1.1 with `Connection: close`, for a socket that no HTTP server drives any more. */
export function asClosingMessage(response: FinalResponse): Buffer {
  const lines = [`HTTP/1.1 ${response.status} ${response.statusText}`];
  for (const [name, value] of response.headers) lines.push(`${name}: ${value}`);
  lines.push(`content-length: ${response.body.byteLength}`, 'connection: close', '', '');
  return Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), response.body]);
}
