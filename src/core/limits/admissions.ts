/**
 * Who of the clients of a node may come in by the limits that count them over all workers: per tenant, user and address.
 * Pure, time is an argument; main thread, one per node.
 *
 * What is counted are client ids and not connections: a client that comes back before its former connection was noticed to be
 * dead is not refused because of it. Memory: one entry for each client that was admitted and has not left, and what
 * `KeyedRates` keeps.
 */
import type { LimitKind } from '../../observability/limit-metrics.ts';
import { assert } from '../../std/assert.ts';
import { addressKey, KeyedRates } from './keyed-rates.ts';
import { type ClientLimitSettings, type TenantLimits, tenantLimitsOf } from './limit-settings.ts';
import { OwnRate } from './rate.ts';

/** Tenants that have a budget of their own; those that come later share the last one. */
export const tenantsMax = 1_024;

export interface Entrant {
  readonly tenant: string;
  /** '' for an anonymous client: those are no one's. */
  readonly user: string;
  readonly clientId: string;
  /** '' over a Unix socket. */
  readonly address: string;
  /** The acceptor saw this address and has taken the connection off its rate. */
  readonly isAddressRated: boolean;
}

export type Admittance =
  | {
      readonly type: 'admitted' /** Where the tenant's budgets are, below `tenantsMax`. */;
      readonly tenantSlot: number;
    }
  | { readonly type: 'refused'; readonly limit: LimitKind };

interface Tenant {
  readonly slot: number;
  readonly limits: TenantLimits;
  readonly connects: OwnRate | null;
}

interface Place {
  readonly keys: readonly string[];
  readonly clientKey: string;
}

export class Admissions {
  private readonly settings: ClientLimitSettings;
  /** Of the acceptor, too. */
  readonly addresses: KeyedRates;
  private readonly tenants = new Map<string, Tenant>();
  private readonly others: Tenant;
  private readonly counts = new DistinctCounts();
  /** By worker, then by the worker's number of the client. */
  private readonly places = new Map<number, Map<number, Place>>();

  constructor(settings: ClientLimitSettings) {
    this.settings = settings;
    this.addresses = new KeyedRates(settings.addressAcceptRatePerS, settings.addressAcceptBurst);
    this.others = newTenant(tenantsMax - 1, settings.tenants.default);
    // Those with limits of their own always have them.
    for (const { name } of settings.tenants.named) this.tenantOf(name);
  }

  /** `id` is the worker's own and new; whoever is admitted stays until `leave`. */
  enter(worker: number, id: number, entrant: Entrant, nowMs: number): Admittance {
    const tenant = this.tenantOf(entrant.tenant);
    const limit = this.refusalOf(entrant, tenant, nowMs);
    if (limit !== null) return { type: 'refused', limit };
    const keys = this.countsOf(entrant, tenant).map(([key]) => key);
    const clientKey = clientKeyOf(entrant);
    for (const key of keys) this.counts.add(key, clientKey);
    let own = this.places.get(worker);
    if (own === undefined) {
      own = new Map();
      this.places.set(worker, own);
    }
    assert(!own.has(id), 'a client is admitted once');
    own.set(id, { keys, clientKey });
    return { type: 'admitted', tenantSlot: tenant.slot };
  }

  leave(worker: number, id: number): void {
    const own = this.places.get(worker);
    const place = own?.get(id);
    if (own === undefined || place === undefined) return;
    own.delete(id);
    this.forget(place);
  }

  /** All its clients are gone with it. */
  workerGone(worker: number): void {
    for (const place of this.places.get(worker)?.values() ?? []) this.forget(place);
    this.places.delete(worker);
  }

  private forget({ keys, clientKey }: Place): void {
    for (const key of keys) this.counts.remove(key, clientKey);
  }

  /** Rates come first: also whoever is refused uses them up. */
  private refusalOf(entrant: Entrant, tenant: Tenant, nowMs: number): LimitKind | null {
    const { connects } = tenant;
    const { address, isAddressRated } = entrant;
    const isRated = address !== '' && !isAddressRated;
    if (isRated && !this.addresses.take(addressKey(address), nowMs)) return 'address-connect-rate';
    if (connects !== null) {
      if (connects.available(nowMs) < 1) return 'tenant-connect-rate';
      connects.spend(1, nowMs);
    }
    const clientKey = clientKeyOf(entrant);
    for (const [key, max, limit] of this.countsOf(entrant, tenant))
      if (this.counts.of(key) >= max && !this.counts.has(key, clientKey)) return limit;
    return null;
  }

  /** What the client counts for, how many there may be, and the limit that says so; nothing where there is no limit. */
  private countsOf(entrant: Entrant, { limits }: Tenant): [key: string, max: number, limit: LimitKind][] {
    const { tenant, user, address } = entrant;
    const { addressConnectionsMax, userConnectionsMax } = this.settings;
    const counts: [string, number, LimitKind][] = [];
    if (limits.connectionsMax > 0)
      counts.push([`t${JSON.stringify(tenant)}`, limits.connectionsMax, 'tenant-connections']);
    if (userConnectionsMax > 0 && user !== '')
      counts.push([`u${JSON.stringify([tenant, user])}`, userConnectionsMax, 'user-connections']);
    if (addressConnectionsMax > 0 && address !== '')
      counts.push([`a${addressKey(address)}`, addressConnectionsMax, 'address-connections']);
    return counts;
  }

  /** Names of tenants come from the configuration and from administrators; should they ever be too many, the rest share. */
  private tenantOf(name: string): Tenant {
    const known = this.tenants.get(name);
    if (known !== undefined) return known;
    if (this.tenants.size >= tenantsMax - 1) return this.others;
    const tenant = newTenant(this.tenants.size, tenantLimitsOf(this.settings, name));
    this.tenants.set(name, tenant);
    return tenant;
  }
}

function newTenant(slot: number, limits: TenantLimits): Tenant {
  const { connectRatePerS } = limits;
  return { slot, limits, connects: connectRatePerS === 0 ? null : new OwnRate(connectRatePerS, 0) };
}

/** How many different members each key has; a member may be added several times. */
class DistinctCounts {
  private readonly members = new Map<string, Map<string, number>>();

  of(key: string): number {
    return this.members.get(key)?.size ?? 0;
  }

  has(key: string, member: string): boolean {
    return this.members.get(key)?.has(member) === true;
  }

  add(key: string, member: string): void {
    let own = this.members.get(key);
    if (own === undefined) {
      own = new Map();
      this.members.set(key, own);
    }
    own.set(member, (own.get(member) ?? 0) + 1);
  }

  remove(key: string, member: string): void {
    const own = this.members.get(key);
    const count = own?.get(member) ?? 0;
    if (own === undefined || count === 0) return;
    if (count > 1) own.set(member, count - 1);
    else own.delete(member);
    if (own.size === 0) this.members.delete(key);
  }
}

function clientKeyOf({ tenant, clientId }: Entrant): string {
  return JSON.stringify([tenant, clientId]);
}
