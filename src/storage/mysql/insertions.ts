/** How rows are divided among insertions. Pure. Any thread; used by the engine. */

/** Rows of one insertion are so many, or half of it, and so on, so that there are few statements to prepare. */
const rowsMax = 32;

/** How many rows each insertion has, as few insertions as can be. */
export function insertSizes(rows: number): number[] {
  const sizes: number[] = [];
  let left = rows;
  for (let size = rowsMax; left > 0; size >>>= 1) {
    while (left >= size) {
      sizes.push(size);
      left -= size;
    }
  }
  return sizes;
}

/** In the same order, so that the bytes of a group fit into one statement; what is longer is alone. */
export function groupsOf<T>(items: readonly T[], bytesOf: (item: T) => number, bytesMax: number): T[][] {
  const groups: T[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const length = bytesOf(item);
    if (bytes + length > bytesMax) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(item);
    bytes += length;
  }
  return groups;
}
