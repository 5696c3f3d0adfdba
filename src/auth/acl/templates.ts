/**
 * Placeholders in the topic filters of rules: `${clientid}`, `${username}`, `${certcn}`. Pure; connection workers and the
 * main thread.
 *
 * What a client chose itself must never widen a rule. A value is put in literally, and only when it is one plain part of a
 * topic: not empty, without `+`, `#`, `/` and U+0000, and without a `$` in front, which would reach the broker's own topics.
 * With any other value a rule that allows matches nothing. A rule that denies then denies all that it could mean with
 * whatever value: who takes a strange name must not slip through either.
 */
import type { Identity } from '../../core/ports/access.ts';

const placeholder = /\$\{([^}]*)\}/g;
const unusable = /[+#/\u0000]/;

const readers = new Map<string, (identity: Identity) => string>([
  ['clientid', ({ clientId }) => clientId],
  ['username', ({ user }) => user],
  ['certcn', ({ certificateName }) => certificateName],
]);

export const placeholderNames: readonly string[] = [...readers.keys()];

export function hasPlaceholder(filter: string): boolean {
  return filter.includes('${');
}

/** The filter with `x` for every placeholder, for checking its form; null when a placeholder is not known. */
export function withoutPlaceholders(filter: string): string | null {
  let isKnown = true;
  const plain = filter.replace(placeholder, (_, name: string) => {
    if (!readers.has(name)) isKnown = false;
    return 'x';
  });
  return isKnown && !plain.includes('${') ? plain : null;
}

function isUsable(value: string): boolean {
  return value !== '' && !unusable.test(value) && !value.startsWith('$');
}

/** The filter for `identity`, or null when a value cannot be put in. */
export function fillIn(filter: string, identity: Identity): string | null {
  let isWhole = true;
  const filled = filter.replace(placeholder, (_, name: string) => {
    const value = readers.get(name)?.(identity) ?? '';
    if (!isUsable(value)) isWhole = false;
    return value;
  });
  return isWhole ? filled : null;
}

/** A filter that matches all that `filter` could with any values; null for every topic there is. */
export function widest(filter: string): string | null {
  const levels = filter.split('/');
  const first = levels.findIndex((level) => level.includes('${'));
  return first <= 0 ? null : [...levels.slice(0, first), '#'].join('/');
}
