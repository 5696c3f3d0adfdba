/**
 * IP addresses and ranges of them (CIDR). Pure; any thread.
 *
 * All addresses are compared as 16 bytes, IPv4 as its IPv4-mapped IPv6 address, so that `::ffff:10.0.0.1` and `10.0.0.1`
 * are one address however the operating system or a proxy writes it.
 */
import { isIP } from 'node:net';

export interface AddressRange {
  /** 16 bytes. */
  readonly bytes: Uint8Array;
  /** Leading bits that have to be equal, 0 to 128. */
  readonly bits: number;
}

const v4Prefix = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] as const;
const v4PrefixBits = 96;

/** The 16 bytes of an address, or null. A zone (`fe80::1%eth0`) is left out. */
export function parseIp(text: string): Uint8Array | null {
  const zone = text.indexOf('%');
  const bare = zone === -1 ? text : text.slice(0, zone);
  const version = isIP(bare);
  if (version === 4) return Uint8Array.from([...v4Prefix, ...bare.split('.').map(Number)]);
  return version === 6 ? parseV6(bare) : null;
}

/** `text` is known to be valid. */
function parseV6(text: string): Uint8Array {
  const [head = '', tail] = text.split('::');
  const front = groupsOf(head);
  const back = tail === undefined ? [] : groupsOf(tail);
  const middle = new Array<number>(16 - front.length - back.length).fill(0);
  return Uint8Array.from([...front, ...middle, ...back]);
}

function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** An address, or `address/bits`; null when it is neither. Bits beyond the prefix have no meaning, as everywhere. */
export function parseRange(text: string): AddressRange | null {
  const slash = text.indexOf('/');
  const bytes = text.includes('%') ? null : parseIp(slash === -1 ? text : text.slice(0, slash));
  if (bytes === null) return null;
  const isV4 = isIP(slash === -1 ? text : text.slice(0, slash)) === 4;
  const most = isV4 ? 32 : 128;
  if (slash === -1) return { bytes, bits: 128 };
  const digits = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits) || Number(digits) > most) return null;
  return { bytes, bits: Number(digits) + (isV4 ? v4PrefixBits : 0) };
}

/** Whether the address, as `parseIp` gives it, lies in the range. */
export function contains({ bytes, bits }: AddressRange, address: Uint8Array): boolean {
  const whole = bits >> 3;
  for (let index = 0; index < whole; index++) if (bytes[index] !== address[index]) return false;
  const rest = bits & 7;
  if (rest === 0) return true;
  return (bytes[whole] ^ address[whole]) >> (8 - rest) === 0;
}

const loopbackV4: AddressRange = { bytes: Uint8Array.from([...v4Prefix, 127, 0, 0, 0]), bits: v4PrefixBits + 8 };
const loopbackV6: AddressRange = { bytes: Uint8Array.from([...new Array<number>(15).fill(0), 1]), bits: 128 };

/** False for what is no address. */
export function isLoopback(text: string): boolean {
  const address = parseIp(text);
  return address !== null && (contains(loopbackV4, address) || contains(loopbackV6, address));
}

/** Whether `text` lies in one of `ranges`; what is no address lies in none. Ranges that cannot be read match nothing. */
export function isInRanges(text: string, ranges: readonly string[]): boolean {
  const address = parseIp(text);
  if (address === null) return false;
  return ranges.some((range) => {
    const parsed = parseRange(range);
    return parsed !== null && contains(parsed, address);
  });
}
