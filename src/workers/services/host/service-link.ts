/**
 * One thread that uses the services, as the host sees it: its port, its consumers, and how much of what was sent to them it has looked
 * at. Thread: the journal worker; owned by the services host.
 */
import type { MessagePort } from 'node:worker_threads';
import type { AcknowledgementSet } from '../../../core/queues/acknowledgement-set.ts';
import type { QueueConsumer } from '../../../core/queues/queue-consumer.ts';
import type { Delivery } from '../../../core/queues/stored-message.ts';
import { toError } from '../../../std/errors.ts';
import { BatchedPort } from '../batched-port.ts';
import { packDeliveries } from '../delivery-codec.ts';
import type { AttachCall, ClientToServices, ServicesToClient } from '../messages.ts';
import { toSentServiceError } from '../service-error.ts';

export interface ServiceLinkOptions {
  /** Bytes of deliveries that the thread has not looked at; beyond it nothing more is sent. */
  readonly deliveryBytesMax: number;
  receive(link: ServiceLink, message: ClientToServices): void;
  closed(link: ServiceLink): void;
}

interface HostConsumer {
  readonly set: AcknowledgementSet;
  readonly consumer: QueueConsumer;
  /** Credit that is held back. */
  held: number;
}

export class ServiceLink {
  /** Groups of half messages that somebody of this thread can be asked about. */
  readonly checkGroups = new Set<string>();
  /** Calls that wait for messages: how to end the waiting. */
  readonly waits = new Map<number, () => void>();
  readonly #port: BatchedPort<ServicesToClient, ClientToServices>;
  readonly #bytesMax: number;
  readonly #consumers = new Map<number, HostConsumer>();
  #sentBytes = 0;
  /** Nothing is sent until the thread has looked at half of it. */
  #isHeld = false;

  constructor(port: MessagePort, { deliveryBytesMax, receive, closed }: ServiceLinkOptions) {
    this.#bytesMax = deliveryBytesMax;
    this.#port = new BatchedPort<ServicesToClient, ClientToServices>(
      port,
      (message) => receive(this, message),
      () => {
        this.#release();
        closed(this);
      },
    );
  }

  get isClosed(): boolean {
    return this.#port.isClosed;
  }

  get consumerCount(): number {
    return this.#consumers.size;
  }

  post(message: ServicesToClient, moved?: ArrayBuffer): void {
    this.#port.post(message, moved);
  }

  /** Sends now what was posted. */
  flush(): void {
    this.#port.flush();
  }

  /** @throws QueueError QUEUE_CLOSED, QUEUE_LIMIT */
  attach(set: AcknowledgementSet, { consumer: number, name, inFlightMax, credit }: AttachCall): void {
    // Asked for again, since the answer was late.
    this.detach(number);
    if (this.isClosed) return;
    const entry: HostConsumer = {
      set,
      held: this.#isHeld ? credit : 0,
      consumer: set.addConsumer({
        name,
        inFlightMax,
        credit: this.#isHeld ? 0 : credit,
        onMessages: (messages) => this.#send(number, messages),
        onEnd: (reason) => {
          if (this.#consumers.get(number) !== entry) return;
          this.#consumers.delete(number);
          const error = toSentServiceError(reason) ?? { code: 'QUEUE_CLOSED', message: toError(reason).message };
          this.post({ type: 'ended', consumer: number, error });
        },
      }),
    };
    this.#consumers.set(number, entry);
  }

  detach(number: number): void {
    const entry = this.#consumers.get(number);
    if (entry === undefined) return;
    this.#consumers.delete(number);
    entry.set.removeConsumer(entry.consumer);
  }

  credit(number: number, credit: number, isTotal: boolean): void {
    const entry = this.#consumers.get(number);
    // It has ended, and its thread does not know yet.
    if (entry === undefined) return;
    const before = isTotal ? 0 : entry.held + (this.#isHeld ? 0 : entry.consumer.credit);
    const wanted = Math.max(0, before + credit);
    if (this.#isHeld) entry.held = wanted;
    else entry.set.setCredit(entry.consumer, wanted);
  }

  /** The thread has looked at deliveries. */
  taken(bytes: number): void {
    this.#sentBytes = Math.max(0, this.#sentBytes - bytes);
    if (!this.#isHeld || this.#sentBytes > this.#bytesMax / 2) return;
    this.#isHeld = false;
    for (const entry of this.#consumers.values()) {
      const { held } = entry;
      entry.held = 0;
      if (held > 0) entry.set.addCredit(entry.consumer, held);
    }
  }

  close(): void {
    if (this.isClosed) return;
    this.#port.close();
    this.#release();
  }

  #send(number: number, messages: readonly Delivery[]): void {
    const bytes = packDeliveries(messages);
    this.#sentBytes += bytes.byteLength;
    this.post({ type: 'messages', consumer: number, bytes }, bytes);
    if (this.#isHeld || this.#sentBytes <= this.#bytesMax) return;
    this.#isHeld = true;
    for (const entry of this.#consumers.values()) {
      entry.held += entry.consumer.credit;
      entry.set.setCredit(entry.consumer, 0);
    }
  }

  /** The thread is gone: what it had goes to others. */
  #release(): void {
    for (const { set, consumer } of this.#consumers.values()) set.removeConsumer(consumer);
    this.#consumers.clear();
    for (const end of [...this.waits.values()]) end();
    this.waits.clear();
  }
}
