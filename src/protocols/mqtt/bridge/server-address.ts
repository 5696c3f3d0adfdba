/** Addresses of remote brokers as they stand in the configuration. Pure; main thread for the check, and the bridge's worker. */

export interface ServerAddress {
  readonly isSecure: boolean;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
}

const form = /^(?<scheme>mqtts?):\/\/(?:\[(?<ipv6>[0-9a-f:.]+)\]|(?<host>[a-z0-9_.-]+))(?::(?<port>\d{1,5}))?\/?$/i;

/** Reads `mqtt://host:port` and `mqtts://host:port`, the port may be missing. Undefined when it is neither. */
export function parseServerAddress(text: string): ServerAddress | undefined {
  const { scheme, ipv6, host, port } = form.exec(text)?.groups ?? {};
  const name = ipv6 ?? host;
  if (scheme === undefined || name === undefined) return undefined;
  const isSecure = scheme.toLowerCase() === 'mqtts';
  const number = port === undefined ? (isSecure ? 8883 : 1883) : Number(port);
  return number < 1 || number > 65_535 ? undefined : { isSecure, host: name, port: number };
}

/** The inverse, with the port. */
export function formatServerAddress({ isSecure, host, port }: ServerAddress): string {
  return `mqtt${isSecure ? 's' : ''}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
