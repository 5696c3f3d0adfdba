/**
 * Sends what a turn has for other slots as one message to each, and brings what is for the own slot without a thread's help. Thread:
 * the slot.
 */
import type { QueueContext } from '../../queues/queue-context.ts';
import type { GroupMessage, GroupTransport } from './group-messages.ts';

export type GroupHandler = (from: number, message: GroupMessage) => void;

/** References in one message; more begin another one. */
const refsMax = 3 * 1024;

export class GroupPost {
  readonly slot: number;
  readonly #transport: GroupTransport;
  readonly #context: QueueContext;
  readonly #waiting = new Map<number, GroupMessage[]>();
  #isDeferred = false;
  #isClosed = false;
  #handler: GroupHandler = () => undefined;

  constructor(slot: number, transport: GroupTransport, context: QueueContext) {
    this.slot = slot;
    this.#transport = transport;
    this.#context = context;
    transport.onMessages((from, messages) => {
      if (this.#isClosed) return;
      for (const message of messages) this.#handler(from, message);
    });
  }

  handle(handler: GroupHandler): void {
    this.#handler = handler;
  }

  ownerOf(shard: number): number {
    return this.#transport.ownerOf(shard);
  }

  get others(): readonly number[] {
    return this.#transport.others();
  }

  post(slot: number, message: GroupMessage): void {
    if (this.#isClosed) return;
    const waiting = this.#waiting.get(slot);
    if (waiting === undefined) this.#waiting.set(slot, [message]);
    else if (!joins(waiting[waiting.length - 1], message)) waiting.push(message);
    if (this.#isDeferred) return;
    this.#isDeferred = true;
    this.#context.defer(() => this.#flush());
  }

  postAll(message: GroupMessage): void {
    this.post(this.slot, message);
    for (const slot of this.others) if (slot !== this.slot) this.post(slot, message);
  }

  close(): void {
    this.#flush();
    this.#isClosed = true;
  }

  #flush(): void {
    this.#isDeferred = false;
    const all = [...this.#waiting];
    this.#waiting.clear();
    if (this.#isClosed) return;
    for (const [slot, messages] of all) {
      if (slot !== this.slot) this.#transport.send(slot, messages);
      else for (const message of messages) this.#handler(slot, message);
    }
  }
}

/** Adds the references of a message to those of the one before it, when they go the same way. */
function joins(last: GroupMessage, added: GroupMessage): boolean {
  if (added.kind !== 'give' && added.kind !== 'settle' && added.kind !== 'return') return false;
  if (last.kind !== added.kind || last.group !== added.group || last.id !== added.id) return false;
  if (last.refs.length >= refsMax) return false;
  if (last.kind === 'give' && added.kind === 'give' && last.epoch !== added.epoch) return false;
  if (last.kind === 'settle' && added.kind === 'settle' && (last.request !== 0 || added.request !== 0)) return false;
  for (const number of added.refs) last.refs.push(number);
  return true;
}
