/**
 * Which of the servers to ask: the leader when its address is known, the first one that works otherwise. Pure; used by the
 * client's parts on whatever thread the client lives.
 */

/** An address that failed is not followed as a hint for this long, ms. */
const distrustMs = 5_000;

export class Endpoints {
  private readonly addresses: readonly string[];
  private readonly now: () => number;
  private index = 0;
  private hint = '';
  private readonly distrusted = new Map<string, number>();

  constructor(addresses: readonly string[], now: () => number) {
    this.addresses = addresses;
    this.now = now;
  }

  get count(): number {
    return this.addresses.length;
  }

  current(): string {
    return this.hint === '' ? this.addresses[this.index] : this.hint;
  }

  /** The leader is said to be there. Answers whether that is worth a try. */
  prefer(address: string): boolean {
    if (address === '' || (this.distrusted.get(address) ?? 0) > this.now()) return false;
    this.hint = address;
    return true;
  }

  /** A call to `address` failed in a way that another server may not fail. */
  avoid(address: string): void {
    if (this.distrusted.size > 100) this.distrusted.clear();
    this.distrusted.set(address, this.now() + distrustMs);
    if (this.hint === address) this.hint = '';
    if (this.addresses[this.index] === address) this.index = (this.index + 1) % this.addresses.length;
  }
}

/** Reads `host:port[,host:port…]`; throws a `TypeError` that says what is wrong. */
export function parseEndpoints(text: string | readonly string[]): string[] {
  const addresses = (typeof text === 'string' ? text.split(',') : [...text]).map((each) => each.trim());
  for (const address of addresses) {
    const match = /^(?:\[[0-9a-fA-F:.%]+\]|[^:[\]\s/]+):(\d{1,5})$/.exec(address);
    const port = Number(match?.[1]);
    if (match === null || port === 0 || port > 65_535) {
      throw new TypeError(`Cannot use server "${address}": expected host:port`);
    }
  }
  return [...new Set(addresses)];
}
