/** Flags of the side-by-side runs. Main thread; used by `mqtt.ts` and `kv.ts`. */

/** The names in a comma-separated list, each of which is known; `fallback` without a list. */
export function pick<T extends string>(
  what: string,
  list: string | undefined,
  fallback: readonly T[],
  known: readonly T[],
): readonly T[] {
  if (list === undefined) return fallback;
  return list.split(',').map((name) => {
    const found = known.find((one) => one === name);
    if (found === undefined) throw new Error(`Cannot use ${what} "${name}": expected ${known.join(', ')}`);
    return found;
  });
}

export function toCount(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`Cannot use ${flag} "${text}": expected a whole number from 1`);
  return value;
}
