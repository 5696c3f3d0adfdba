/** Fields of the requests about access. Lives on the main thread; used by the resources about users, rules and blocks. */
import { defaultTenant } from '../../core/ports/access.ts';
import { tenantNameError } from '../../core/tenants/tenant-names.ts';
import { RequestInvalidError } from './request.ts';
import type { Fields } from './streams-fields.ts';

export function tenantOf(fields: Fields): string {
  const tenant = fields.value('tenant') === undefined ? defaultTenant : fields.text('tenant');
  if (tenantNameError(tenant) !== undefined) throw fields.wrong('tenant', 'must be the name of a tenant');
  return tenant;
}

/** A text, or `fallback` when it is not there. */
export function textOr<D>(fields: Fields, name: string, fallback: D): string | D {
  return fields.value(name) === undefined ? fallback : fields.text(name);
}

/** A list of texts; undefined when it is not there. */
export function textsOf(fields: Fields, name: string): readonly string[] | undefined {
  const value = fields.value(name);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.some((each) => typeof each !== 'string')) {
    throw fields.wrong(name, 'must be a list of texts');
  }
  return value as readonly string[];
}

/** One of a few words; `fallback` when it is not there. */
export function wordOf<W extends string, D>(fields: Fields, name: string, words: readonly W[], fallback: D): W | D {
  const value = fields.value(name);
  if (value === undefined) return fallback;
  const found = words.find((word) => word === value);
  if (found === undefined) throw fields.wrong(name, `must be one of ${words.join(', ')}`);
  return found;
}

/** As `wordOf`, and it must be there. */
export function wordIn<W extends string>(fields: Fields, name: string, words: readonly W[]): W {
  const found = wordOf(fields, name, words, undefined);
  if (found === undefined) throw fields.wrong(name, `must be one of ${words.join(', ')}`);
  return found;
}

/** Several of a few words, each once; undefined when they are not there. */
export function wordsOf<W extends string>(fields: Fields, name: string, words: readonly W[]): readonly W[] | undefined {
  const given = textsOf(fields, name);
  const found = given?.map((text) => words.find((word) => word === text));
  if (found === undefined) return undefined;
  const known = found.filter((word) => word !== undefined);
  if (known.length < found.length || new Set(known).size < known.length) {
    throw new RequestInvalidError(`the field "${name}" must have only ${words.join(', ')}, each once`);
  }
  return known;
}
