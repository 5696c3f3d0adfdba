/** A lease that was granted or extended lasts at least its time, by the clock of whoever leads; so does a node's service. */
import type { Command, CommandResult, LeaseId } from '../../../src/core/ports/placement.ts';
import { demand } from '../violation.ts';

/** Clocks of hosts differ by at most that factor from the simulated time. */
export const clockDriftMax = 0.1;

interface Lease {
  readonly ttlMs: number;
  /** Since when it must last, us. */
  from: number;
}

export class LeaseChecker {
  readonly #leases = new Map<LeaseId | string, Lease>();
  readonly #now: () => number;
  extended = 0;
  expired = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A client was told that its lease goes on; it asked at `askedAt`. */
  onExtended(lease: LeaseId, askedAt: number): void {
    this.extended++;
    const record = this.#leases.get(lease);
    if (record !== undefined) record.from = Math.max(record.from, askedAt);
  }

  /** A node was told that it stays in service; it asked at `askedAt`. */
  onHeard(node: string, epoch: number, askedAt: number): void {
    this.extended++;
    const record = this.#leases.get(`${node} ${epoch}`);
    if (record !== undefined) record.from = Math.max(record.from, askedAt);
  }

  onCommand(command: Command, result: CommandResult): void {
    if (result.type === 'refused') return;
    if (command.type === 'node-register' && result.type === 'node') {
      const name = `${command.node} ${result.epoch}`;
      // A repeated registration begins nothing anew.
      if (!this.#leases.has(name)) this.#leases.set(name, { ttlMs: command.ttlMs, from: this.#now() });
    }
    if (command.type === 'lease-grant' && result.type === 'lease' && !this.#leases.has(command.lease)) {
      this.#leases.set(command.lease, { ttlMs: result.ttlMs, from: this.#now() });
    }
    if (command.type === 'lease-expire') this.#ended(command.lease);
    if (command.type === 'node-expire') this.#ended(`${command.node} ${command.epoch}`);
  }

  #ended(name: LeaseId | string): void {
    const record = this.#leases.get(name);
    if (record === undefined) return;
    this.#leases.delete(name);
    this.expired++;
    const lasted = (this.#now() - record.from) / 1000;
    demand(
      lasted >= record.ttlMs * (1 - clockDriftMax) - 1,
      'lease-time',
      () => `Lease ${name} of ${record.ttlMs} ms ended ${lasted} ms after it was promised`,
    );
  }
}
