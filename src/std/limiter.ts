/** Bounds how much runs at once. Pure. Any thread. */

/** Runs the task when there is room, in the order of the calls; answers what it answers. */
export type Limiter = <T>(task: () => Promise<T>) => Promise<T>;

export function limiter(atOnce: number): Limiter {
  let running = 0;
  const waiting: (() => void)[] = [];
  const leave = (): void => {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  };
  return async (task) => {
    if (running < atOnce) running += 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await task();
    } finally {
      leave();
    }
  };
}
