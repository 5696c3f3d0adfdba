/**
 * Addresses to listen on, written `host:port`. Main thread; called by the configuration and by whoever opens listeners.
 */
import { isIP, isIPv6 } from 'node:net';

export interface HostAndPort {
  /** Host name or IP address, an IPv6 address without its brackets. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

/** Where an address names no host: only this machine can connect unless the configuration says otherwise. */
export const defaultHost = '127.0.0.1';

const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*$/i;
const form = /^(?:\[(?<ipv6>[^\]]*)\]|(?<host>[^:[\]]*)):(?<port>\d{1,5})$/;

/** Reads `127.0.0.1:1883`, `broker.example:1883`, `[::1]:1883` and `:1883`. Undefined when it is none of these. */
export function parseAddress(text: string): HostAndPort | undefined {
  const { ipv6, host, port: digits } = form.exec(text)?.groups ?? {};
  const port = Number(digits);
  if (digits === undefined || port > 65_535) return undefined;
  if (ipv6 !== undefined) return isIPv6(ipv6) ? { host: ipv6, port } : undefined;
  if (host === undefined || host === '') return { host: defaultHost, port };
  return isIP(host) !== 0 || isHostName(host) ? { host, port } : undefined;
}

/** The inverse of `parseAddress`. */
export function formatAddress({ host, port }: HostAndPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The path in `unix:/run/ringmq.sock` or `unix:./ringmq.sock`. Undefined when it is no such address. */
export function parseUnixAddress(text: string): string | undefined {
  const path = /^unix:(\.{0,2}\/.+)$/.exec(text)?.[1];
  // The kernel takes 107 bytes, of which a temporary folder beside the file needs some.
  return path === undefined || path.includes('\0') || Buffer.byteLength(path) > 90 ? undefined : path;
}

function isHostName(text: string): boolean {
  // A last label of digits alone is an IPv4 address that went wrong, for example 10.0.0.256.
  return hostName.test(text) && !/(^|\.)\d+$/.test(text);
}
