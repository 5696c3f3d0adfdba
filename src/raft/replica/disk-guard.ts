/**
 * Refuses what would fill the disk while there is still room for what frees it again. Thread: the Raft worker; used by
 * `replica.ts`.
 */
import { type Command, type Operation, PlacementError } from '../../core/ports/placement.ts';

/** Below this share of the reserve a follower takes no entries at all: a failed write would end its life. */
const CRITICAL_SHARE = 0.25;

export class DiskGuard {
  private readonly reserveBytes: number;
  private freeBytes = Number.POSITIVE_INFINITY;

  constructor(reserveBytes: number) {
    this.reserveBytes = reserveBytes;
  }

  measure(freeBytes: number): void {
    this.freeBytes = freeBytes;
  }

  get isLow(): boolean {
    return this.freeBytes < this.reserveBytes;
  }

  get isCritical(): boolean {
    return this.freeBytes < this.reserveBytes * CRITICAL_SHARE;
  }

  /** Null: the command may be taken now. */
  refusalOf(command: Command): PlacementError | null {
    if (!this.isLow || (!this.isCritical && !grows(command))) return null;
    return new PlacementError('DISK_FULL', `Only ${this.freeBytes} bytes are left on the disk`);
  }
}

function grows(command: Command): boolean {
  switch (command.type) {
    case 'transaction':
      return [...command.success, ...command.failure].some(isSet);
    case 'lease-grant':
    case 'topic-create':
    case 'node-register':
      return true;
    default:
      return false;
  }
}

function isSet(operation: Operation): boolean {
  return operation.type === 'set';
}
