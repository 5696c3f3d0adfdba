/**
 * Which tenant a client is in, by its CONNECT. What the listener says holds; where it says nothing, and the settings let clients choose, the
 * first of these that is there decides: the user property `tenant`, `tenant@` in front of the user name, `tenant@` in front of the client id.
 * Whoever has chosen a tenant proves itself with an account of that tenant, unless it is one of `mqtt.tenants.open`. Thread: the
 * connection's worker.
 */
import { randomUUID } from 'node:crypto';
import { defaultTenant } from '../../../core/ports/access.ts';
import type { Connection } from '../../../core/ports/connection.ts';
import { listenerTenant } from '../../../core/tenants/listener-tenant.ts';
import { innerSession, tenantNameError } from '../../../core/tenants/tenant-names.ts';
import type { ConnectPacket } from '../packets/types.ts';
import type { MqttSettings } from '../settings.ts';

export interface ClientTenant {
  readonly tenant: string;
  /** What the client is called in its tenant; '' when it wants to be given a name. */
  readonly clientId: string;
  readonly user: string | undefined;
  /** Nobody comes in without an account of the tenant. */
  readonly needsAccount: boolean;
}

type Asking = Pick<ConnectPacket, 'clientId' | 'username' | 'userProperties'>;
type Where = Pick<Connection, 'listener' | 'serverName' | 'tls'>;

const property = 'tenant';
/** Longest name of a session, bytes. */
const sessionBytesMax = 65_535;

/** Null: there is no tenant that this client may be in, whoever it is. */
export function tenantOf(packet: Asking, connection: Where, settings: MqttSettings['tenants']): ClientTenant | null {
  const { clientId, username: user } = packet;
  const given = listenerTenant(connection);
  const asked = settings.choice ? propertyOf(packet) : undefined;
  if (asked === null) return null;
  if (given !== null) {
    const isContrary = asked !== undefined && asked !== given;
    return given === '' || isContrary ? null : { tenant: given, clientId, user, needsAccount: false };
  }
  if (!settings.choice) return { tenant: defaultTenant, clientId, user, needsAccount: false };
  if (asked !== undefined) return chosen(asked, clientId, user, settings);
  const userAt = user === undefined ? -1 : user.indexOf('@');
  if (user !== undefined && userAt !== -1) {
    return chosen(user.slice(0, userAt), clientId, user.slice(userAt + 1), settings);
  }
  const idAt = clientId.indexOf('@');
  if (idAt === -1) return { tenant: defaultTenant, clientId, user, needsAccount: false };
  const own = clientId.slice(idAt + 1);
  // A name was given; an empty one does not ask for another.
  return own === '' ? null : chosen(clientId.slice(0, idAt), own, user, settings);
}

/** Undefined when there is none, null when there are several. */
function propertyOf({ userProperties }: Asking): string | undefined | null {
  const values = userProperties.filter(([name]) => name === property);
  return values.length > 1 ? null : values[0]?.[1];
}

function chosen(
  tenant: string,
  clientId: string,
  user: string | undefined,
  { open }: MqttSettings['tenants'],
): ClientTenant | null {
  if (tenantNameError(tenant) !== undefined) return null;
  return { tenant, clientId, user, needsAccount: tenant !== defaultTenant && !open.includes(tenant) };
}

/** What the session of a client is called inside the broker, with a client id of the broker's where it has none; null: it is too long. */
export function sessionName(tenant: string, clientId: string): string | null {
  const name = innerSession(tenant, clientId);
  return name.length * 3 <= sessionBytesMax || Buffer.byteLength(name) <= sessionBytesMax ? name : null;
}

export function assignedId(): string {
  return `auto-${randomUUID()}`;
}
