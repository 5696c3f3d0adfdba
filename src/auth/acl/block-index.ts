/**
 * The block list, so that one look answers for one client however long the list is. Pure; connection workers and the main
 * thread. Time is an argument: what has run out blocks nobody, also before it is removed.
 */
import type { AccessBlock, Identity } from '../../core/ports/access.ts';
import { type AddressRange, contains, parseIp, parseRange } from '../addresses.ts';

type Facts = Pick<Identity, 'tenant' | 'user' | 'clientId' | 'address'>;

/** A block's own name: there is one per tenant, kind and value. */
export function blockKey({ tenant, kind, value }: Pick<AccessBlock, 'tenant' | 'kind' | 'value'>): string {
  return JSON.stringify([tenant, kind, value]);
}

export class BlockIndex {
  private readonly blocks = new Map<string, AccessBlock>();
  /** Ranges of more than one address, by key; looked through one by one. */
  private readonly ranges = new Map<string, { readonly range: AddressRange; readonly block: AccessBlock }>();
  /** Single addresses by the text of their bytes. */
  private readonly addresses = new Map<string, AccessBlock>();

  get size(): number {
    return this.blocks.size;
  }

  list(): AccessBlock[] {
    return [...this.blocks.values()];
  }

  set(block: AccessBlock): void {
    const key = blockKey(block);
    this.delete(key);
    if (block.kind === 'address') {
      const range = parseRange(block.value);
      // Blocks are checked before they are stored; one that cannot be read could block nobody.
      if (range === null) return;
      if (range.bits === 128) this.addresses.set(addressKey(block.tenant, range.bytes), block);
      else this.ranges.set(key, { range, block });
    }
    this.blocks.set(key, block);
  }

  delete(key: string): void {
    const known = this.blocks.get(key);
    if (known === undefined) return;
    this.blocks.delete(key);
    this.ranges.delete(key);
    const range = known.kind === 'address' ? parseRange(known.value) : null;
    if (range !== null && range.bits === 128) this.addresses.delete(addressKey(known.tenant, range.bytes));
  }

  /** The block that keeps this client out, or null. An anonymous client has no user that could be blocked. */
  find({ tenant, user, clientId, address }: Facts, nowMs: number): AccessBlock | null {
    if (this.blocks.size === 0) return null;
    const isActive = (block: AccessBlock | undefined): block is AccessBlock =>
      block !== undefined && (block.untilMs === 0 || block.untilMs > nowMs);
    const byClient = this.blocks.get(blockKey({ tenant, kind: 'client', value: clientId }));
    if (isActive(byClient)) return byClient;
    const byUser = user === '' ? undefined : this.blocks.get(blockKey({ tenant, kind: 'user', value: user }));
    if (isActive(byUser)) return byUser;
    const bytes = parseIp(address);
    if (bytes === null) return null;
    const byAddress = this.addresses.get(addressKey(tenant, bytes));
    if (isActive(byAddress)) return byAddress;
    for (const { range, block } of this.ranges.values()) {
      if (block.tenant === tenant && isActive(block) && contains(range, bytes)) return block;
    }
    return null;
  }
}

function addressKey(tenant: string, bytes: Uint8Array): string {
  return `${Buffer.from(bytes).toString('hex')}${tenant}`;
}
