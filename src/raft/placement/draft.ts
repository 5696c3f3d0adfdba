/**
 * One revision in the making: every key that a command sets or removes goes through a draft, which keeps versions, leases
 * and the change log in step. Commands check everything first, because a draft cannot be taken back. Thread: the Raft
 * worker; used by the functions that apply commands.
 */

import type { Bytes, KeyValue, LeaseId, Revision } from '../../core/ports/placement.ts';
import { assert } from '../../std/assert.ts';
import { latin1Of, uint53Key } from './bytes.ts';
import { type Change, type ChangeEvent, deletedItem } from './change-log.ts';
import { leaseKey } from './lease-rows.ts';
import type { RecordKind } from './record-kind.ts';
import type { Request } from './request-rows.ts';
import type { StateCore } from './state-core.ts';

export class Draft {
  /** Of everything in the draft, if there is anything. */
  readonly revision: Revision;
  private readonly core: StateCore;
  private readonly events: ChangeEvent[] = [];

  constructor(core: StateCore) {
    this.core = core;
    this.revision = core.revision + 1;
  }

  /** Key and value are kept, not copied. `previous` is what the key holds now. */
  set(text: string, key: Bytes, value: Bytes, lease: LeaseId, previous: KeyValue | null): void {
    const { revision } = this;
    assert(previous === null || previous.modRevision !== revision, 'a key is written once per revision');
    const item: KeyValue =
      previous === null
        ? { key, value, createRevision: revision, modRevision: revision, version: 1, lease }
        : {
            key,
            value,
            createRevision: previous.createRevision,
            modRevision: revision,
            version: previous.version + 1,
            lease,
          };
    const leaseBefore = previous === null ? 0 : previous.lease;
    if (leaseBefore !== lease) this.moveLease(key, leaseBefore, lease);
    this.core.tables.records.set(text, key, item);
    const previousRevision = previous === null ? 0 : previous.modRevision;
    this.events.push({ type: 'set', item, previous, previousRevision });
  }

  remove(text: string, item: KeyValue): void {
    assert(item.modRevision !== this.revision, 'a key is written once per revision');
    const { key } = item;
    if (item.lease !== 0) this.moveLease(key, item.lease, 0);
    this.core.tables.records.set(text, key, null);
    this.events.push({
      type: 'delete',
      item: deletedItem(key, this.revision),
      previous: item,
      previousRevision: item.modRevision,
    });
  }

  /** Sets a typed record. `encoded` when the caller has checked and encoded it before. */
  setRecord<T>(kind: RecordKind<T>, record: T, encoded: Bytes = kind.encode(record)): void {
    const key = kind.keyOf(record);
    const text = latin1Of(key);
    this.set(text, key, encoded, 0, this.core.tables.records.find(text, key));
  }

  removeKey(key: Bytes): void {
    const text = latin1Of(key);
    const item = this.core.tables.records.find(text, key);
    if (item !== null) this.remove(text, item);
  }

  /** Makes it a revision when something changed. Answers the revision of the store. */
  finish(request: Request, commandTag: number, succeeded: boolean, epoch: number): Revision {
    const { core, revision, events } = this;
    if (events.length === 0) return core.revision;
    const change: Change = { revision, request, commandTag, succeeded, epoch, events };
    core.revision = revision;
    const key = uint53Key(revision);
    core.tables.changes.set(latin1Of(key), key, change);
    core.window.add(request, { revision, commandTag, succeeded, epoch, refusal: null }, false);
    core.onChange?.(change);
    return revision;
  }

  private moveLease(key: Bytes, from: LeaseId, to: LeaseId): void {
    if (from !== 0) this.attach(from, key, false);
    if (to !== 0) this.attach(to, key, true);
  }

  private attach(lease: LeaseId, key: Bytes, isAttached: boolean): void {
    const { leases, leaseKeys } = this.core.tables;
    const leaseId = uint53Key(lease);
    const leaseText = latin1Of(leaseId);
    const row = leases.find(leaseText, leaseId);
    assert(row !== null, 'keys are attached to leases that exist');
    leases.set(leaseText, leaseId, { ...row, keyCount: row.keyCount + (isAttached ? 1 : -1) });
    const attached = leaseKey(lease, key);
    leaseKeys.set(latin1Of(attached), attached, isAttached ? true : null);
  }
}
