/**
 * The names that things of a tenant have inside the broker. What belongs to the default tenant has the names that clients give it; what
 * belongs to another one has its tenant in front, behind U+0000, which is in no name that a client can send. So one router, one store of
 * retained values and one log of messages serve all tenants, and nothing crosses, whatever names clients choose.
 *
 *   topic, filter   `$` U+0000 tenant `/` name
 *                   `$` U+0000 tenant U+0000 `/` name, where the name begins with `$`: apart, so that no wildcard of the tenant reaches it
 *   session         U+0000 tenant U+0000 name
 *
 * The tenant is escaped, so that it holds none of `/`, `+`, `#` and U+0000: no two pairs of tenant and name make one. Since the first level
 * begins with `$`, filters of the default tenant that begin with a wildcard do not match.
 *
 * Pure; any thread. A worker keeps one `TenantNames` for each tenant that its clients are in.
 */
import { defaultTenant } from '../ports/access.ts';
import { filterError, topicError } from '../routing/topic.ts';

/** UTF-16 units of the name of a tenant. */
export const tenantCharactersMax = 255;

const dollar = 0x24;
const slash = 0x2f;
const mark = '\0';
/** Tenants whose names are kept; more are made anew when they are needed. */
const tenantsKeptMax = 1_024;

/** Returns why there can be no tenant of that name, or undefined. */
export function tenantNameError(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (name.length > tenantCharactersMax) return `it is longer than ${tenantCharactersMax} characters`;
  if (name.includes(mark)) return 'it contains U+0000';
  return name.isWellFormed() ? undefined : 'it is not well-formed Unicode';
}

export class TenantNames {
  readonly tenant: string;
  /** In front of every topic and filter that does not begin with `$`. ASCII, so that characters are bytes. */
  readonly prefix: string;
  readonly prefixBytes: Buffer;
  readonly #hiddenPrefix: string;

  /** `tenant` is a valid name, see `tenantNameError`. */
  constructor(tenant: string) {
    const escaped = encodeURIComponent(tenant);
    this.tenant = tenant;
    this.prefix = `$${mark}${escaped}/`;
    this.prefixBytes = Buffer.from(this.prefix);
    this.#hiddenPrefix = `$${mark}${escaped}${mark}/`;
  }

  /** The inner name of a topic or a filter; it can be longer and deeper than names may be, see `innerFilterError`. */
  inner(name: string): string {
    return (name.charCodeAt(0) === dollar ? this.#hiddenPrefix : this.prefix) + name;
  }
}

const known = new Map<string, TenantNames>();

/** Null for the default tenant, whose names are what they are. For tenants that a client was let into: what is asked for is kept. */
export function namesOf(tenant: string): TenantNames | null {
  if (tenant === defaultTenant) return null;
  let names = known.get(tenant);
  if (names === undefined) {
    if (known.size >= tenantsKeptMax) known.clear();
    names = new TenantNames(tenant);
    known.set(tenant, names);
  }
  return names;
}

/** The inner name of a topic or a filter of any tenant. */
export function innerName(tenant: string, name: string): string {
  return tenant === defaultTenant ? name : (known.get(tenant) ?? new TenantNames(tenant)).inner(name);
}

/** What the session of a client is called inside the broker. */
export function innerSession(tenant: string, clientId: string): string {
  return tenant === defaultTenant ? clientId : `${mark}${encodeURIComponent(tenant)}${mark}${clientId}`;
}

/** Length of what stands in front of the name that clients know; 0 in the default tenant. */
export function tenantPrefixLength(inner: string): number {
  return inner.charCodeAt(0) === dollar && inner.charCodeAt(1) === 0 ? inner.indexOf('/') + 1 : 0;
}

/** The same where the inner name is `bytes[start, start + length)`. */
export function tenantPrefixBytes(bytes: Buffer, start: number, length: number): number {
  if (length < 2 || bytes[start + 1] !== 0 || bytes[start] !== dollar) return 0;
  let at = start + 2;
  while (at < start + length && bytes[at] !== slash) at++;
  return at + 1 - start;
}

/** A topic or filter as clients know it. */
export function plainName(inner: string): string {
  const length = tenantPrefixLength(inner);
  return length === 0 ? inner : inner.slice(length);
}

/** Whose topic or filter it is; null in the default tenant. */
export function tenantOfName(inner: string): string | null {
  const length = tenantPrefixLength(inner);
  return length === 0 ? null : decodeURIComponent(inner.slice(2, length - 1).replace(mark, ''));
}

/** Whose session it is, and what its client calls itself. */
export function sessionOf(inner: string): { readonly tenant: string; readonly clientId: string } {
  if (inner.charCodeAt(0) !== 0) return { tenant: defaultTenant, clientId: inner };
  const end = inner.indexOf(mark, 1);
  return { tenant: decodeURIComponent(inner.slice(1, end)), clientId: inner.slice(end + 1) };
}

/** As `topicError`, for a topic with its tenant: the whole of it has to be within the bounds. */
export function innerTopicError(inner: string): string | undefined {
  const length = tenantPrefixLength(inner);
  return length === 0 ? topicError(inner) : (topicError(inner.slice(length)) ?? topicError(withoutMarks(inner)));
}

/** As `filterError`, likewise; in front of the tenant there may be levels that a protocol puts there, such as the name of a shared group. */
export function innerFilterError(inner: string): string | undefined {
  const start = inner.indexOf(`/$${mark}`) + 1;
  const length = tenantPrefixLength(start === 0 ? inner : inner.slice(start));
  if (length === 0) return filterError(inner);
  return filterError(inner.slice(0, start) + inner.slice(start + length)) ?? filterError(withoutMarks(inner));
}

/** For looking at its length and its levels. */
function withoutMarks(inner: string): string {
  return inner.replaceAll(mark, '_');
}
