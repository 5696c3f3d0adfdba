/**
 * What a stored session has beside the messages: its will, and who its client was. As JSON: both are rare, and of clients' making, so that
 * they are checked when they are read. Pure.
 */
import type { Identity } from '../../../core/ports/access.ts';
import { neverExpires as keptForEver, type SessionWill } from '../../../core/sessions/session-entry.ts';
import type { MessageProperties, Will } from '../packets/types.ts';
import { neverExpires } from '../state/session.ts';

/** Session expiry interval in the words of the core, milliseconds. */
export function expiryMsOf(expiryS: number): number {
  return expiryS === neverExpires ? keptForEver : expiryS * 1000;
}

export function encodeWill(will: Will | null): SessionWill | null {
  if (will === null) return null;
  const { topic, payload, qos, retain, delayS, properties } = will;
  const correlationData = properties.correlationData?.toString('base64');
  const text = JSON.stringify({
    topic,
    payload: payload.toString('base64'),
    qos,
    retain,
    properties: { ...properties, correlationData },
  });
  return { delayMs: delayS * 1000, content: Buffer.from(text) };
}

/** Null when it is none. */
export function decodeWill({ delayMs, content }: SessionWill): Will | null {
  const read = parsed(content);
  if (read === null) return null;
  const { topic, payload, qos, retain, properties } = read as Partial<Record<keyof Will, unknown>>;
  if (typeof topic !== 'string' || typeof payload !== 'string' || typeof retain !== 'boolean') return null;
  if ((qos !== 0 && qos !== 1 && qos !== 2) || typeof properties !== 'object' || properties === null) return null;
  const { correlationData, userProperties, ...others } = properties as Record<string, unknown>;
  const restored = {
    ...others,
    userProperties: Array.isArray(userProperties) ? userProperties : [],
    ...(typeof correlationData === 'string' && { correlationData: Buffer.from(correlationData, 'base64') }),
  } as MessageProperties;
  const body = Buffer.from(payload, 'base64');
  return { topic, payload: body, qos, retain, delayS: Math.floor(delayMs / 1000), properties: restored };
}

export function encodeIdentity(identity: Identity | undefined): Buffer | null {
  return identity === undefined ? null : Buffer.from(JSON.stringify(identity));
}

/** Null when it is none: nothing is known of the client then, and nothing is allowed in its name. */
export function decodeIdentity(content: Buffer | null): Identity | null {
  const read = content === null ? null : (parsed(content) as Partial<Identity> | null);
  if (read === null) return null;
  const { tenant, user, clientId, address, mechanism, certificateName, groups, isSuperuser, isLocal, needsAccount } =
    read;
  const texts = [tenant, user, clientId, address, mechanism, certificateName];
  if (!texts.every((text) => typeof text === 'string') || !Array.isArray(groups)) return null;
  return {
    ...({ tenant, user, clientId, address, mechanism, certificateName } as Identity),
    groups: groups.filter((group) => typeof group === 'string'),
    isSuperuser: isSuperuser === true,
    isLocal: isLocal === true,
    ...(needsAccount === true && { needsAccount }),
  };
}

function parsed(content: Buffer): object | null {
  try {
    const value: unknown = JSON.parse(content.toString());
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}
