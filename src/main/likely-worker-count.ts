/**
 * How many connection workers there will be, as far as that shows before the configuration is read, so that their threads can load
 * their modules meanwhile. Pure. Main thread, once at start.
 */

/** More at once load no faster; the others are started when the configuration is known. */
const countMax = 16;

/**
 * Never more than the configuration will say, whatever it takes the number from: flags win over variables, these win over the file,
 * of which nothing is known here but that there is at least one worker. What is wrong with a setting, its reader will say.
 */
export function likelyWorkerCount(
  flags: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  parallelism: number,
): number {
  const text = flagOf(flags) ?? environment.RINGMQ_WORKERS ?? (hasFile(flags, environment) ? '1' : 'auto');
  const count = text === 'auto' ? parallelism : Number(text);
  return Number.isInteger(count) && count >= 1 ? Math.min(count, countMax) : 1;
}

/** `--workers N` or `--set workers=N`, the last of them. */
function flagOf(flags: readonly string[]): string | undefined {
  let text: string | undefined;
  for (const [index, flag] of flags.entries()) {
    const next = flags[index + 1];
    if (flag === '--workers') text = next;
    else if (flag.startsWith('--workers=')) text = flag.slice('--workers='.length);
    else if (flag === '--set' && next?.startsWith('workers=')) text = next.slice('workers='.length);
    else if (flag.startsWith('--set=workers=')) text = flag.slice('--set=workers='.length);
  }
  return text;
}

function hasFile(flags: readonly string[], environment: Readonly<Record<string, string | undefined>>): boolean {
  return environment.RINGMQ_CONFIG !== undefined || flags.some((flag) => /^--config(=|$)/.test(flag));
}
