/** What the kernel says of a running process. Thread of the caller; used by the programs that judge memory and descriptors. */
import { readdirSync, readFileSync } from 'node:fs';

export function descriptorCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) * 1_024;
}
