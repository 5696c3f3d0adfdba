/** Reads requests and writes responses of `node:http` for the route table. Used by the listener and by the workers. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpRequest } from '../port.ts';
import { type FinalResponse, failure, type RouteTable } from '../routing.ts';

const noBody = Buffer.alloc(0);

/** Answers `message` from `routes`. `closing` tells whether the connection is to end after this response. */
export function answer(
  message: IncomingMessage,
  response: ServerResponse,
  routes: RouteTable,
  bodyBytesMax: number,
  closing: () => boolean,
): void {
  if (Number(message.headers['content-length'] ?? 0) > bodyBytesMax) {
    refuseBody(message, response);
    return;
  }
  const chunks: Buffer[] = [];
  let size = 0;
  message.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= bodyBytesMax) chunks.push(chunk);
    else refuseBody(message, response);
  });
  message.on('end', () => {
    const final = routes.answer(describe(message, chunks.length === 0 ? noBody : Buffer.concat(chunks)));
    if (final instanceof Promise) void final.then((later) => send(response, later, closing()));
    else send(response, final, closing());
  });
}

/** RFC 9110, section 15.5.14: refuses and closes, so that the rest of the body need not be read. */
function refuseBody(message: IncomingMessage, response: ServerResponse): void {
  message.removeAllListeners('data').removeAllListeners('end');
  message.pause();
  send(response, failure(413), true);
}

function describe(message: IncomingMessage, body: Buffer): HttpRequest {
  const target = message.url ?? '/';
  const split = target.indexOf('?');
  const headers = new Map<string, string>();
  for (const [name, values] of Object.entries(message.headersDistinct)) headers.set(name, (values ?? []).join(', '));
  return {
    method: message.method ?? 'GET',
    path: split < 0 ? target : target.slice(0, split),
    query: split < 0 ? '' : target.slice(split + 1),
    headers,
    body,
    remoteAddress: message.socket.remoteAddress ?? '',
  };
}

function send(response: ServerResponse, final: FinalResponse, closing: boolean): void {
  if (response.destroyed || response.headersSent) return;
  for (const [name, value] of final.headers) response.setHeader(name, value);
  response.setHeader('content-length', final.body.byteLength);
  if (closing) response.setHeader('connection', 'close');
  response.writeHead(final.status, final.statusText);
  // Node leaves the body of an answer to HEAD out by itself.
  response.end(final.body);
}
