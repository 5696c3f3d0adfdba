/** Calls on leases. Any thread; part of `PlacementClient`. */
import { randomInt } from 'node:crypto';
import { Consistency } from '../generated/ringmq/placement/v1/common.ts';
import {
  type LeaseGrantResponse,
  type LeaseInfo,
  LeaseServiceService,
} from '../generated/ringmq/placement/v1/lease.ts';
import type { CallOptions } from './call-options.ts';
import type { Caller } from './caller.ts';
import { type KeptLease, LeaseKeeper } from './lease-keeper.ts';
import { nextRequestId } from './request-id.ts';

const leaseIdEnd = 2 ** 48 - 1;

export class Leases {
  private readonly caller: Caller;
  private readonly timeoutMs: number;
  private readonly keeper: LeaseKeeper;

  constructor(caller: Caller, timeoutMs: number) {
    this.caller = caller;
    this.timeoutMs = timeoutMs;
    this.keeper = new LeaseKeeper(caller);
  }

  /** Without `lease` the id is random. The epoch in the answer is a fencing token: it grows from lease to lease. */
  async grant(
    ttlMs: number,
    { lease, timeoutMs = this.timeoutMs }: CallOptions & { readonly lease?: number } = {},
  ): Promise<LeaseGrantResponse> {
    const request = { lease: lease ?? randomInt(1, leaseIdEnd), ttlMs, requestId: nextRequestId() };
    return this.caller.call(LeaseServiceService.grant, request, timeoutMs, true);
  }

  /** Ends the lease; its keys go. */
  async revoke(lease: number, { timeoutMs = this.timeoutMs }: CallOptions = {}): Promise<void> {
    const request = { lease, requestId: nextRequestId() };
    await this.caller.call(LeaseServiceService.revoke, request, timeoutMs, true);
  }

  /** Rejects with `LEASE_NOT_FOUND` when it has ended. */
  async get(lease: number, { timeoutMs = this.timeoutMs }: CallOptions = {}): Promise<LeaseInfo> {
    const request = { lease, consistency: Consistency.LINEARIZABLE };
    const answer = await this.caller.call(LeaseServiceService.get, request, timeoutMs, true);
    if (answer.lease === undefined) throw new Error('Cannot read answer: a field is missing');
    return answer.lease;
  }

  async list({ timeoutMs = this.timeoutMs }: CallOptions = {}): Promise<readonly LeaseInfo[]> {
    const request = { consistency: Consistency.LINEARIZABLE };
    return (await this.caller.call(LeaseServiceService.list, request, timeoutMs, true)).leases;
  }

  /** Renews the lease in time until `stop`, or until it is lost. `ttlMs`: as granted. */
  keep(lease: number, ttlMs: number, onRenewed?: (remainingMs: number) => void): KeptLease {
    return this.keeper.keep(lease, ttlMs, onRenewed);
  }

  close(): void {
    this.keeper.close();
  }
}
