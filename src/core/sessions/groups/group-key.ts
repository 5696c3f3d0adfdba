/**
 * Names of groups whose members share the messages of a filter. Pure; any thread.
 */
import { hashString } from '../../../std/hash.ts';
import { plainName, tenantOfName, tenantPrefixLength } from '../../tenants/tenant-names.ts';

/** Groups are spread over so many streams, each with one owner; the number is part of what is stored. */
export const groupShards = 16;

export const groupLogPrefix = '__groups.';

/** U+0000 is in no name; a filter may have it, where its tenant stands in front. */
const separator = '\0';
const groupKeyBytesMax = 65_535;

/** The same group for the same tenant, name and filter. */
export function groupKeyOf(tenant: string, name: string, filter: string): string {
  return `${tenant}${separator}${name}${separator}${filter}`;
}

export function filterOfGroup(key: string): string {
  return groupNameOf(key).filter;
}

interface GroupName {
  readonly tenant: string;
  readonly name: string;
  readonly filter: string;
}

/** Tenant, name and filter of a group. */
export function groupNameOf(key: string): GroupName {
  const nameAt = key.indexOf(separator) + 1;
  const nameEnd = key.indexOf(separator, nameAt);
  if (nameAt === 0 || nameEnd === -1) return { tenant: '', name: '', filter: '' };
  return { tenant: key.slice(0, nameAt - 1), name: key.slice(nameAt, nameEnd), filter: key.slice(nameEnd + 1) };
}

/** The same as people know it: the filter without the tenant that stands in front of it. */
export function shownGroupOf(key: string): GroupName {
  const { tenant, name, filter } = groupNameOf(key);
  return { tenant: tenantOfName(filter) ?? tenant, name, filter: plainName(filter) };
}

/** What is wrong with a key; null: nothing. */
export function groupKeyError(key: string): string | null {
  const { filter } = groupNameOf(key);
  const isOne = filter !== '' && (!filter.includes(separator) || tenantPrefixLength(filter) > 0);
  if (!isOne) return 'it is not a tenant, a name and a filter';
  const length = Buffer.byteLength(key);
  return length <= groupKeyBytesMax ? null : `it has ${length} bytes, more than ${groupKeyBytesMax}`;
}

export function shardOfGroup(key: string): number {
  return (hashString(key) >>> 0) % groupShards;
}
