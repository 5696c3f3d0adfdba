/** Errors of access administration as answers. Lives on the main thread; used by the resources about access. */
import { AccessError, type AccessErrorCode } from '../../core/ports/access-administration.ts';
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import { orFailure } from './placement-failure.ts';
import { orInvalid } from './request.ts';
import { json } from './response.ts';

const statuses: Readonly<Record<AccessErrorCode, number>> = {
  ACCESS_BLOCK_UNKNOWN: 404,
  ACCESS_CHANGED_MEANWHILE: 409,
  ACCESS_INVALID: 400,
  ACCESS_LIMIT: 409,
  ACCESS_RULE_EXISTS: 409,
  ACCESS_RULE_UNKNOWN: 404,
  ACCESS_USER_EXISTS: 409,
  ACCESS_USER_UNKNOWN: 404,
  ACCESS_WORK_REFUSED: 503,
};

type Handler = (request: HttpRequest) => Promise<HttpResponse>;

/** A route whose errors become answers with a stable code. */
export function accessRoute(method: 'GET' | 'POST', path: string, handle: Handler): HttpRoute {
  return {
    method,
    path,
    handler: (request) => orInvalid(() => orFailure(() => orAccessFailure(() => handle(request)))),
  };
}

async function orAccessFailure(work: () => Promise<HttpResponse>): Promise<HttpResponse> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    return json(statuses[error.code], { code: error.code, message: error.message });
  }
}
