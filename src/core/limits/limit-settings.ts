/**
 * What clients may use, as the configuration says it (`limits.tenants`, `limits.clients`), and which of it holds for one
 * client. Plain data and pure functions; main thread and connection workers.
 */

/** Of all clients of one tenant together, over all workers of the node. 0: no limit. */
export interface TenantLimits {
  /** Client ids that are connected at once. */
  readonly connectionsMax: number;
  readonly connectRatePerS: number;
  readonly publishRatePerS: number;
  readonly publishBytesPerS: number;
  readonly subscriptionsMax: number;
}

/** Of each client that fits. 0: no limit but that of its protocol. */
export interface ClientClassLimits {
  readonly publishRatePerS: number;
  /** Messages that may come at once within the rate; 0: as many as in one second. */
  readonly publishBurst: number;
  readonly publishBytesPerS: number;
  readonly packetBytesMax: number;
  readonly subscriptionsMax: number;
  /** Messages on their way to it without an acknowledgement. */
  readonly inflightMax: number;
}

export interface ClientClass extends ClientClassLimits {
  /** Names; empty: every one. All three must fit. */
  readonly tenants: readonly string[];
  /** '' is the anonymous user. */
  readonly users: readonly string[];
  readonly listeners: readonly string[];
}

export interface NamedTenantLimits extends Partial<TenantLimits> {
  readonly name: string;
}

export interface ClientLimitSettings {
  readonly addressAcceptRatePerS: number;
  readonly addressAcceptBurst: number;
  readonly addressConnectionsMax: number;
  readonly userConnectionsMax: number;
  /** What a publication beyond its rate leads to: the client is read slower, or disconnected. */
  readonly publishExceeded: 'slow' | 'disconnect';
  readonly tenants: { readonly default: TenantLimits; readonly named: readonly NamedTenantLimits[] };
  /** The first that fits holds. */
  readonly clients: readonly ClientClass[];
}

const tenantKeys = [
  'connectionsMax',
  'connectRatePerS',
  'publishRatePerS',
  'publishBytesPerS',
  'subscriptionsMax',
] as const satisfies readonly (keyof TenantLimits)[];

/** What holds for a tenant: its own where it has some, the default for the rest. */
export function tenantLimitsOf({ tenants }: ClientLimitSettings, tenant: string): TenantLimits {
  const own = tenants.named.find(({ name }) => name === tenant);
  if (own === undefined) return tenants.default;
  const of = (key: keyof TenantLimits): number => own[key] ?? tenants.default[key];
  return {
    connectionsMax: of('connectionsMax'),
    connectRatePerS: of('connectRatePerS'),
    publishRatePerS: of('publishRatePerS'),
    publishBytesPerS: of('publishBytesPerS'),
    subscriptionsMax: of('subscriptionsMax'),
  };
}

/** The class that holds for a client, or null. */
export function classOf(
  { clients }: ClientLimitSettings,
  client: { readonly tenant: string; readonly user: string; readonly listener: string },
): ClientClass | null {
  const fits = (names: readonly string[], name: string): boolean => names.length === 0 || names.includes(name);
  return (
    clients.find(
      ({ tenants, users, listeners }) =>
        fits(tenants, client.tenant) && fits(users, client.user) && fits(listeners, client.listener),
    ) ?? null
  );
}

/** Whether clients have to be counted over all workers: a question to the main thread for each that comes. */
export function countsClients(settings: ClientLimitSettings): boolean {
  const { tenants, addressConnectionsMax, addressAcceptRatePerS, userConnectionsMax } = settings;
  const isTenantLimited = [tenants.default, ...tenants.named].some((limits) =>
    tenantKeys.some((key) => (limits[key] ?? 0) > 0),
  );
  return isTenantLimited || addressConnectionsMax > 0 || addressAcceptRatePerS > 0 || userConnectionsMax > 0;
}
