/**
 * How the slots of all workers of the node tell each other about groups: `GroupTransport` over the control plane of this worker. What is
 * sent is gathered for each turn and has no bodies in it, so that broadcasts do. Lives on a connection worker; used by its session slots.
 *
 * A slot says that it is open to all workers, and again to one that begins to serve. The slot of a worker owns groups, so that a message to one
 * that is not open yet opens it.
 */
import type { ControlPlane } from '../../core/ports/control-plane.ts';
import { shardOfGroup } from '../../core/sessions/groups/group-key.ts';
import type { GroupMessage, GroupTransport } from '../../core/sessions/groups/group-messages.ts';

const channel = 'session-groups';
const ready: readonly GroupMessage[] = [{ kind: 'ready' }];
/** Messages that wait for the own slot to open. */
const waitingMax = 10_000;

type PlaneMessage =
  | { readonly kind: 'open' | 'closed'; readonly slots: readonly number[] }
  | { readonly kind: 'kept'; readonly groups: readonly string[]; readonly isKept: boolean }
  | {
      readonly kind: 'messages';
      readonly from: number;
      readonly to: number;
      readonly messages: readonly GroupMessage[];
    };

interface Local {
  handler: (from: number, messages: readonly GroupMessage[]) => void;
  readonly gone: ((slot: number) => void)[];
}

export class GroupPlane {
  readonly #workerIndex: number;
  readonly #workerCount: number;
  readonly #control: ControlPlane;
  readonly #locals = new Map<number, Local>();
  /** Slots that are open elsewhere, and where. */
  readonly #remotes = new Map<number, number>();
  #waiting: { readonly from: number; readonly messages: readonly GroupMessage[] }[] = [];
  /** Told when something is for the own slot, which is not open. */
  onWanted: () => void = () => undefined;
  /** A group of whatever worker is kept from now on, or is not any more. Workers without an open slot hear of it, too. */
  onKept: (group: string, isKept: boolean) => void = () => undefined;
  readonly #kept = new Set<string>();

  constructor(workerIndex: number, workerCount: number, control: ControlPlane) {
    this.#workerIndex = workerIndex;
    this.#workerCount = workerCount;
    this.#control = control;
    control.onBroadcast(channel, (worker, payload) => this.#receive(worker, payload as PlaneMessage));
    control.onWorkerGone((worker) => {
      for (const [slot, of] of [...this.#remotes]) if (of === worker) this.#gone(slot);
    });
    control.onWorkerReady(() => {
      if (this.#locals.size > 0) this.#broadcast({ kind: 'open', slots: [...this.#locals.keys()] });
      const own = [...this.#kept].filter((group) => this.#owns(group));
      if (own.length > 0) this.#broadcast({ kind: 'kept', groups: own, isKept: true });
    });
  }

  /** For a slot that opens on this worker; `closed` ends it. */
  transportOf(slot: number): GroupTransport {
    const local: Local = { handler: () => undefined, gone: [] };
    this.#locals.set(slot, local);
    this.#broadcast({ kind: 'open', slots: [slot] });
    return {
      others: () => [...this.#locals.keys(), ...this.#remotes.keys()].filter((other) => other !== slot),
      ownerOf: (shard) => shard % this.#workerCount,
      send: (to, messages) => this.#send(slot, to, messages),
      onMessages: (handler) => {
        local.handler = handler;
      },
      onSlotGone: (handler) => local.gone.push(handler),
    };
  }

  /** What the own slot was told of a group; the slot that owns it tells all workers. */
  told(group: string, isKept: boolean): void {
    if (!this.#owns(group)) return;
    this.#setKept(group, isKept);
    this.#broadcast({ kind: 'kept', groups: [group], isKept });
  }

  #owns(group: string): boolean {
    return shardOfGroup(group) % this.#workerCount === this.#workerIndex;
  }

  #setKept(group: string, isKept: boolean): void {
    if (this.#kept.has(group) === isKept) return;
    if (isKept) this.#kept.add(group);
    else this.#kept.delete(group);
    this.onKept(group, isKept);
  }

  /** The slot serves: it gets what has waited for it. */
  opened(slot: number): void {
    if (slot !== this.#workerIndex) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { from, messages } of waiting) this.#locals.get(slot)?.handler(from, messages);
  }

  /** The slot has failed, or could not be opened. */
  closed(slot: number): void {
    if (!this.#locals.delete(slot)) return;
    for (const { gone } of this.#locals.values()) for (const handler of gone) handler(slot);
    this.#broadcast({ kind: 'closed', slots: [slot] });
  }

  #send(from: number, to: number, messages: readonly GroupMessage[]): void {
    if (this.#locals.has(to)) setImmediate(() => this.#locals.get(to)?.handler(from, messages));
    else if (to === this.#workerIndex) this.#keep(from, messages);
    else this.#broadcast({ kind: 'messages', from, to, messages });
  }

  #receive(worker: number, message: PlaneMessage): void {
    if (message.kind === 'messages') {
      const { from, to, messages } = message;
      const local = this.#locals.get(to);
      if (local !== undefined) local.handler(from, messages);
      else if (to === this.#workerIndex) this.#keep(from, messages);
      return;
    }
    if (message.kind === 'kept') {
      for (const group of message.groups) this.#setKept(group, message.isKept);
      return;
    }
    for (const slot of message.slots) {
      if (message.kind === 'closed') this.#gone(slot);
      else if (this.#remotes.get(slot) !== worker) {
        this.#remotes.set(slot, worker);
        // Whichever of them opened first may have missed the other.
        for (const [own, { handler }] of this.#locals) {
          this.#send(own, slot, ready);
          handler(slot, ready);
        }
      }
    }
  }

  /** Asking for a group is all that a slot must not miss before it is open: the rest is said again when it greets. */
  #keep(from: number, messages: readonly GroupMessage[]): void {
    const asked = messages.filter(({ kind }) => kind === 'join');
    if (asked.length === 0) return;
    if (this.#waiting.length < waitingMax) this.#waiting.push({ from, messages: asked });
    this.onWanted();
  }

  #gone(slot: number): void {
    if (!this.#remotes.delete(slot)) return;
    for (const { gone } of this.#locals.values()) for (const handler of gone) handler(slot);
  }

  #broadcast(message: PlaneMessage): void {
    this.#control.broadcast(channel, message, () => undefined);
  }
}
