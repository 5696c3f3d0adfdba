import { describe, expect, test } from 'vitest';
import type { WebSocketEndpoint } from '../../../../src/net/http/port.ts';
import { decideUpgrade } from '../../../../src/net/http/upgrade.ts';

const endpoint = { path: '/', protocols: ['b', 'a'] } as unknown as WebSocketEndpoint;
const open = { path: '/', protocols: [] } as unknown as WebSocketEndpoint;
const headers = { version: '13', origin: '', protocols: 'a' };

function statusOf(decision: ReturnType<typeof decideUpgrade>): number {
  return decision.accepted ? 101 : decision.response.status;
}

describe('decideUpgrade()', () => {
  test('takes the protocol that the server prefers', () => {
    expect(decideUpgrade(endpoint, { ...headers, protocols: 'c, a ,b' }, () => true)).toEqual({
      accepted: true,
      protocol: 'b',
    });
  });

  test('agrees on none when the endpoint has none', () => {
    expect(decideUpgrade(open, headers, () => true)).toEqual({ accepted: true, protocol: '' });
  });

  test.each(['', 'B', 'ab', 'c', '__proto__', 'a;b'])('refuses the offer "%s"', (protocols) => {
    expect(statusOf(decideUpgrade(endpoint, { ...headers, protocols }, () => true))).toBe(400);
  });

  test.each(['', '8', '13, 8', '013'])('names the known version when it is offered "%s"', (version) => {
    const decision = decideUpgrade(endpoint, { ...headers, version }, () => true);
    expect(statusOf(decision)).toBe(426);
    expect(decision.accepted ? undefined : decision.response.headers.get('sec-websocket-version')).toBe('13');
  });

  test('asks about an origin only when there is one', () => {
    expect(statusOf(decideUpgrade(endpoint, headers, () => false))).toBe(101);
    expect(statusOf(decideUpgrade(endpoint, { ...headers, origin: 'null' }, () => false))).toBe(403);
    expect(statusOf(decideUpgrade(endpoint, { ...headers, origin: 'https://a' }, (o) => o === 'https://a'))).toBe(101);
  });
});
