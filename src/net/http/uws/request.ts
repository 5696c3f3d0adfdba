/** Reads requests and writes responses of uWebSockets.js for the route table. Used by the listener and by the workers. */
import type { HttpRequest as UwsRequest, HttpResponse as UwsResponse } from 'uWebSockets.js';
import type { HttpRequest } from '../port.ts';
import { type FinalResponse, failure, type RouteTable } from '../routing.ts';
import type { RequestInProgress, RequestsInProgress } from './requests-in-progress.ts';

const noBody = Buffer.alloc(0);

/** What a thread answers requests with. */
export interface Answering {
  readonly routes: RouteTable;
  readonly bodyBytesMax: number;
  readonly inProgress: RequestsInProgress;
  /** Whether the connection ends after the response. */
  readonly closing: () => boolean;
}

/** Answers one request. `native` and `nativeRequest` are those of an `any` route. */
export function answer(native: UwsResponse, nativeRequest: UwsRequest, by: Answering): void {
  const headers = readHeaders(nativeRequest);
  const request = {
    method: nativeRequest.getCaseSensitiveMethod(),
    path: nativeRequest.getUrl(),
    query: nativeRequest.getQuery(),
    headers,
    remoteAddress: Buffer.from(native.getRemoteAddressAsText()).toString('latin1'),
  };
  const length = headers.get('content-length');
  if ((length === undefined || length === '0') && !headers.has('transfer-encoding')) {
    respond(native, { ...request, body: noBody }, by, undefined);
  } else if (Number(length ?? 0) > by.bodyBytesMax) {
    // RFC 9110, section 15.5.14: refuses and closes, so that the body need not be read.
    send(native, failure(413), request.method === 'HEAD', true);
  } else {
    readBody(native, request, by);
  }
}

function readBody(native: UwsResponse, request: Omit<HttpRequest, 'body'>, by: Answering): void {
  const progress = by.inProgress.begin(native);
  native.collectBody(by.bodyBytesMax, (body) => {
    if (progress.aborted) return;
    if (body === null) {
      by.inProgress.end(progress);
      native.cork(() => send(native, failure(413), false, true));
      return;
    }
    // The library takes the memory back when this callback returns, hence the copy.
    respond(native, { ...request, body: Buffer.from(new Uint8Array(body)) }, by, progress);
  });
}

/** `begun` is given for a request whose body was waited for. */
function respond(native: UwsResponse, request: HttpRequest, by: Answering, begun: RequestInProgress | undefined): void {
  const final = by.routes.answer(request);
  const isHead = request.method === 'HEAD';
  if (!(final instanceof Promise)) {
    if (begun !== undefined) by.inProgress.end(begun);
    native.cork(() => send(native, final, isHead, by.closing()));
    return;
  }
  const progress = begun ?? by.inProgress.begin(native);
  progress.deadlineMs = Number.POSITIVE_INFINITY;
  void final.then((later) => {
    if (progress.aborted) return;
    by.inProgress.end(progress);
    native.cork(() => send(native, later, isHead, by.closing()));
  });
}

/** Writes a whole response; its size is bounded by what a route makes, and the library buffers what does not leave. */
export function send(native: UwsResponse, final: FinalResponse, isHead: boolean, closing: boolean): void {
  native.writeStatus(`${final.status} ${final.statusText}`);
  for (const [name, value] of final.headers) native.writeHeader(name, value);
  if (closing) native.writeHeader('connection', 'close');
  if (isHead) native.endWithoutBody(final.body.byteLength, closing);
  else native.end(final.body, closing);
}

function readHeaders(request: UwsRequest): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  request.forEach((name, value) => {
    const former = headers.get(name);
    headers.set(name, former === undefined ? value : `${former}, ${value}`);
  });
  return headers;
}
