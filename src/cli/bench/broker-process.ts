/** CPU time and memory of the broker's process from /proc, when it runs on this machine. Linux only. Thread of the harness. */
import { readFileSync } from 'node:fs';
import { CliError } from '../exit-codes.ts';

/** Linux counts user-visible CPU time in hundredths of a second on every architecture that Node runs on. */
const TICKS_PER_S = 100;

/** CPU seconds of all threads of `pid`, user and system. Throws `CliError` when there is no such process. */
export function readCpuS(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  // The second field is the command in parentheses and may hold anything, so count from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

/** Resident memory of `pid` in KiB. */
export function readResidentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
}

/** How many files and sockets this process may open; `undefined` where the system does not say. */
export function readDescriptorLimit(): number | undefined {
  try {
    const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return soft === undefined || soft === 'unlimited' ? undefined : Number(soft);
  } catch {
    // Not Linux: the limit shows itself when connecting.
    return undefined;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CliError(`Cannot read the broker's CPU time: ${(error as Error).message}`);
  }
}
