/** Networks written as `10.0.0.0/8`, `::1/128` or a single address. Pure; main thread. */
import { isIP } from 'node:net';

export interface Network {
  readonly address: string;
  readonly prefixBits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Undefined when it is none. */
export function parseNetwork(text: string): Network | undefined {
  const { address = '', bits } = /^(?<address>[0-9A-Fa-f:.]+)(?:\/(?<bits>\d{1,3}))?$/.exec(text)?.groups ?? {};
  const version = isIP(address);
  if (version === 0) return undefined;
  const longest = version === 4 ? 32 : 128;
  const prefixBits = bits === undefined ? longest : Number(bits);
  if (prefixBits > longest) return undefined;
  return { address, prefixBits, family: version === 4 ? 'ipv4' : 'ipv6' };
}
