/**
 * Applies the commands of leases. When a lease ends is decided by the leader's clock alone (`lease-clock.ts`); here it is
 * a command like any other. Deterministic. Thread: the Raft worker; called by `apply.ts`.
 */
import type { Command, CommandResult, LeaseId } from '../../core/ports/placement.ts';
import { latin1Of, uint53Key } from './bytes.ts';
import { commandTags } from './command-codec.ts';
import { Draft } from './draft.ts';
import { limits } from './limits.ts';
import { keysOfLease } from './queries.ts';
import { refuse } from './refusal.ts';
import type { Request } from './request-rows.ts';
import type { StateCore } from './state-core.ts';

type CommandOf<T extends Command['type']> = Extract<Command, { readonly type: T }>;

export function applyLeaseGrant(core: StateCore, { lease, ttlMs }: CommandOf<'lease-grant'>): CommandResult {
  if (lease === 0) return refuse('INVALID_ARGUMENT', 'A lease has a number from 1 on');
  if (ttlMs < limits.ttlMsMin || ttlMs > limits.leaseTtlMsMax) {
    return refuse('INVALID_ARGUMENT', `A lease lasts ${limits.ttlMsMin} to ${limits.leaseTtlMsMax} ms`);
  }
  const key = uint53Key(lease);
  const text = latin1Of(key);
  if (core.tables.leases.find(text, key) !== null) return refuse('LEASE_EXISTS', `There is a lease ${lease}`);
  const epoch = core.nextEpoch();
  core.tables.leases.set(text, key, { epoch, ttlMs, keyCount: 0 });
  core.listener?.onGranted(lease, epoch, ttlMs);
  return { type: 'lease', lease, epoch, ttlMs };
}

export function applyLeaseRevoke(
  core: StateCore,
  { lease }: CommandOf<'lease-revoke'>,
  request: Request,
): CommandResult {
  if (core.tables.leases.get(uint53Key(lease)) === null) return refuse('LEASE_NOT_FOUND', `There is no lease ${lease}`);
  return { type: 'done', revision: endLease(core, lease, request, commandTags['lease-revoke']) };
}

export function applyLeaseExpire(core: StateCore, command: CommandOf<'lease-expire'>, request: Request): CommandResult {
  const { lease, epoch } = command;
  const row = core.tables.leases.get(uint53Key(lease));
  if (row === null || row.epoch !== epoch) return { type: 'done', revision: core.revision };
  return { type: 'done', revision: endLease(core, lease, request, commandTags['lease-expire']) };
}

/** The lease and all of its keys go in one revision. */
function endLease(core: StateCore, lease: LeaseId, request: Request, commandTag: number): number {
  const draft = new Draft(core);
  for (const key of keysOfLease(core.tables, lease)) draft.removeKey(key);
  const row = uint53Key(lease);
  core.tables.leases.set(latin1Of(row), row, null);
  core.listener?.onLeaseEnded(lease);
  return draft.finish(request, commandTag, true, 0);
}
