/**
 * Names of groups whose members share the messages of a filter. Pure; any thread.
 */
import { hashString } from '../../../std/hash.ts';

/** Groups are spread over so many streams, each with one owner; the number is part of what is stored. */
export const groupShards = 16;

export const groupLogPrefix = '__groups.';

/** U+0000 is in no name and in no filter. */
const separator = '\0';
const groupKeyBytesMax = 65_535;

/** The same group for the same tenant, name and filter. */
export function groupKeyOf(tenant: string, name: string, filter: string): string {
  return `${tenant}${separator}${name}${separator}${filter}`;
}

export function filterOfGroup(key: string): string {
  return key.slice(key.indexOf(separator, key.indexOf(separator) + 1) + 1);
}

/** Name and filter of a group. */
export function groupNameOf(key: string): { readonly name: string; readonly filter: string } {
  const [, name = '', filter = ''] = key.split(separator);
  return { name, filter };
}

/** What is wrong with a key; null: nothing. */
export function groupKeyError(key: string): string | null {
  const parts = key.split(separator);
  if (parts.length !== 3 || parts[2] === '') return 'it is not a tenant, a name and a filter';
  const length = Buffer.byteLength(key);
  return length <= groupKeyBytesMax ? null : `it has ${length} bytes, more than ${groupKeyBytesMax}`;
}

export function shardOfGroup(key: string): number {
  return (hashString(key) >>> 0) % groupShards;
}
