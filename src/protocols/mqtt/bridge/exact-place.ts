/**
 * What is kept beside the place of a bridge in its stream, in the metadata of its cursor: which QoS 2 messages behind the place the remote broker
 * has confirmed (PUBREC), so that they are not sent again. Pure.
 *
 *   x1 <window> <hash of the server> <bits, base64: the n-th is that of the n-th message behind the place>
 */
export interface ExactPlace {
  /** Messages behind the place that may have been sent. */
  readonly window: number;
  /** To which of the servers. */
  readonly server: number;
  /** Offsets. */
  readonly received: readonly number[];
}

const pattern = /^x1 (\d{1,5}) (\d{1,10}) ([A-Za-z0-9+/]*={0,2})$/;

export function encodeExactPlace({ window, server, received }: ExactPlace, place: number): string {
  const last = received.reduce((highest, offset) => Math.max(highest, offset), place - 1);
  const bits = Buffer.alloc(Math.max(0, (last - place + 8) >>> 3));
  for (const offset of received) if (offset >= place) bits[(offset - place) >>> 3] |= 1 << ((offset - place) & 7);
  return `x1 ${window} ${server} ${bits.toString('base64')}`;
}

/** Null: it is none. */
export function decodeExactPlace(metadata: string, place: number): ExactPlace | null {
  const [, window, server, text] = pattern.exec(metadata) ?? [];
  if (window === undefined || server === undefined || text === undefined) return null;
  const received: number[] = [];
  for (const [index, byte] of Buffer.from(text, 'base64').entries())
    for (let bit = 0; bit < 8; bit += 1) if ((byte & (1 << bit)) !== 0) received.push(place + index * 8 + bit);
  return { window: Number(window), server: Number(server), received };
}
