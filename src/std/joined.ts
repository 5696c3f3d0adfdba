/** One answer out of several. Pure; any thread. */

/** A callback that is called `count` times; at the last one `done` is told the first error, or null when there was none. */
export function joined(count: number, done: (error: Error | null) => void): (error: Error | null) => void {
  let left = count;
  let first: Error | null = null;
  return (error) => {
    first ??= error;
    left -= 1;
    if (left === 0) done(first);
  };
}
