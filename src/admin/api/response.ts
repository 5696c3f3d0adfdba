/** What all answers of the administration API share. Lives on the main thread; called by the resources beside it. */
import type { HttpResponse } from '../../net/http/port.ts';

/** Nothing here is to be sniffed, framed, cached or to send a referrer, whatever the body is. */
const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/** An answer with `value` as JSON. */
export function json(status: number, value: unknown): HttpResponse {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', ...securityHeaders },
    body: `${JSON.stringify(value)}\n`,
  };
}

/** An answer with a text body of the given media type. */
export function text(status: number, contentType: string, body: string): HttpResponse {
  return { status, headers: { 'content-type': contentType, ...securityHeaders }, body };
}
