/**
 * Which web pages may open a WebSocket. A browser sends the page's origin and lets any page connect anywhere, so it is the
 * server that has to refuse. Pure; called on workers.
 */

/** `allowed` empty: pages of the host that is connected to. `*`: all. */
export function originRule(allowed: readonly string[]): (origin: string, host: string) => boolean {
  if (allowed.length === 0) return isSameHost;
  if (allowed.includes('*')) return () => true;
  const known = new Set(allowed.map((origin) => origin.toLowerCase()));
  return (origin) => known.has(origin.toLowerCase());
}

/** The scheme is left aside: a proxy in front may have ended TLS. */
function isSameHost(origin: string, host: string): boolean {
  if (host === '') return false;
  try {
    const { protocol, host: own } = new URL(origin);
    if (protocol !== 'http:' && protocol !== 'https:') return false;
    // In the same spelling: without the scheme's usual port.
    return new URL(`${protocol}//${host}`).host === own;
  } catch {
    return false; // `null`, of a page without an origin, or no URL at all.
  }
}
