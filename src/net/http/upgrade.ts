/**
 * Decides on a WebSocket upgrade request: version, origin, sub-protocol. Pure, the same for both adapters; called by them
 * on the worker that got the connection.
 */
import type { WebSocketEndpoint } from './port.ts';
import { type FinalResponse, failure } from './routing.ts';

export interface UpgradeHeaders {
  /** `Sec-WebSocket-Version`, '' when absent. */
  readonly version: string;
  readonly origin: string;
  /** `Host`, '' when absent. */
  readonly host?: string;
  /** `Sec-WebSocket-Protocol`, '' when absent. */
  readonly protocols: string;
}

export type UpgradeDecision =
  | { readonly accepted: true; readonly protocol: string }
  | { readonly accepted: false; readonly response: FinalResponse };

export function decideUpgrade(
  endpoint: WebSocketEndpoint,
  headers: UpgradeHeaders,
  originAllowed: (origin: string, host: string) => boolean,
): UpgradeDecision {
  // RFC 6455, section 4.2.2, item 4: an unknown version is answered with the known one.
  if (headers.version !== '13') return refuse(failure(426, { upgrade: 'websocket', 'sec-websocket-version': '13' }));
  if (headers.origin !== '' && !originAllowed(headers.origin, headers.host ?? '')) return refuse(failure(403));
  if (endpoint.protocols.length === 0) return { accepted: true, protocol: '' };
  const offered = new Set(headers.protocols.split(',').map((name) => name.trim()));
  const protocol = endpoint.protocols.find((name) => offered.has(name));
  return protocol === undefined ? refuse(failure(400)) : { accepted: true, protocol };
}

function refuse(response: FinalResponse): UpgradeDecision {
  return { accepted: false, response };
}
