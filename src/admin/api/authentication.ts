/**
 * Who may use the administration API: asks every request but those about health for a name and a password (Basic) or a token
 * (Bearer), and writes down who changed something. Main thread.
 */
import type { HttpRequest, HttpResponse, HttpRoute } from '../../net/http/port.ts';
import type { Logger } from '../../observability/log.ts';
import { json } from './response.ts';

export type AdminCheck =
  | { readonly type: 'accepted'; readonly actor: string }
  | { readonly type: 'refused'; readonly reason: 'unknown' | 'not-administrator' | 'later'; readonly message: string };

/** Knows administrators. Never rejects. */
export interface AdminAuthenticator {
  byPassword(user: string, password: Uint8Array, address: string): Promise<AdminCheck>;
  byToken(token: string, address: string): Promise<AdminCheck>;
}

export interface AuthenticationOptions {
  /** Null: nobody is asked. */
  readonly authenticator: AdminAuthenticator | null;
  readonly log: Logger;
}

/** Whoever probes the process has no password. They tell nothing but that it lives. */
const publicPaths: ReadonlySet<string> = new Set(['/livez', '/readyz']);
const headerCharactersMax = 4_096;
const statuses = { unknown: 401, 'not-administrator': 403, later: 503 } as const;
const codes = { unknown: 'UNAUTHENTICATED', 'not-administrator': 'FORBIDDEN', later: 'UNAVAILABLE' } as const;

export function guardAccess(routes: readonly HttpRoute[], options: AuthenticationOptions): readonly HttpRoute[] {
  return routes.map((route) => {
    if (publicPaths.has(route.path)) return route;
    const handler = async (request: HttpRequest): Promise<HttpResponse> => {
      const { authenticator, log } = options;
      const check =
        authenticator === null
          ? ({ type: 'accepted', actor: 'local' } as const)
          : await identify(authenticator, request);
      const response = check.type === 'accepted' ? await route.handler(request) : refusalOf(check);
      report(log, request, check, response.status);
      return response;
    };
    return { ...route, handler };
  });
}

function identify(authenticator: AdminAuthenticator, request: HttpRequest): Promise<AdminCheck> {
  const header = request.headers.get('authorization') ?? '';
  const [, scheme = '', value = ''] = /^(\S+) +(\S+)$/.exec(header.slice(0, headerCharactersMax)) ?? [];
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return authenticator.byToken(value, request.remoteAddress);
    case 'basic': {
      const bytes = Buffer.from(value, 'base64');
      const colon = bytes.indexOf(0x3a);
      if (colon === -1) break;
      const user = bytes.toString('utf8', 0, colon);
      return authenticator.byPassword(user, bytes.subarray(colon + 1), request.remoteAddress);
    }
  }
  const message = 'Cannot answer: expected the name and password of an administrator (Basic), or a token (Bearer)';
  return Promise.resolve({ type: 'refused', reason: 'unknown', message });
}

function refusalOf({ reason, message }: Extract<AdminCheck, { type: 'refused' }>): HttpResponse {
  const response = json(statuses[reason], { code: codes[reason], message });
  if (reason !== 'unknown') return response;
  return { ...response, headers: { ...response.headers, 'www-authenticate': 'Basic realm="ringmq", charset="UTF-8"' } };
}

/** Changes, and whoever is not let in. Never the body: it may hold a password. */
function report(log: Logger, { method, path, remoteAddress }: HttpRequest, check: AdminCheck, status: number): void {
  if (check.type === 'refused') {
    log.warn('Administrator was refused', { method, path, address: remoteAddress, reason: check.message });
  } else if (method !== 'GET' && method !== 'HEAD') {
    log.info('Administrator changed something', { actor: check.actor, method, path, address: remoteAddress, status });
  }
}
