/** Limits of clients for tests: none, to be narrowed where a test is about one. */
import type { ClientClass, ClientLimitSettings, TenantLimits } from '../../src/core/limits/limit-settings.ts';

export const noTenantLimits: TenantLimits = {
  connectionsMax: 0,
  connectRatePerS: 0,
  publishRatePerS: 0,
  publishBytesPerS: 0,
  subscriptionsMax: 0,
};

export const noClientLimits: ClientLimitSettings = {
  addressAcceptRatePerS: 0,
  addressAcceptBurst: 0,
  addressConnectionsMax: 0,
  userConnectionsMax: 0,
  publishExceeded: 'slow',
  tenants: { default: noTenantLimits, named: [] },
  clients: [],
};

/** A class of all clients. */
export const everybody: ClientClass = {
  tenants: [],
  users: [],
  listeners: [],
  publishRatePerS: 0,
  publishBurst: 0,
  publishBytesPerS: 0,
  packetBytesMax: 0,
  subscriptionsMax: 0,
  inflightMax: 0,
};
