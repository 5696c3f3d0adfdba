/**
 * Taking messages of a queue once: a consumer that lives as long as one call. What it was given stays with the caller until it is settled
 * or its time is over. Thread: the journal worker; used by the services host.
 */
import type { AcknowledgementSet } from '../../../core/queues/acknowledgement-set.ts';
import type { Delivery } from '../../../core/queues/stored-message.ts';
import { packDeliveries } from '../delivery-codec.ts';
import type { ReceiveCall } from '../messages.ts';
import type { ServiceLink } from './service-link.ts';

/** What is at hand has to be read, and its count of deliveries to be stored. */
const waitMsMin = 50;
/** How long messages that are meant for the caller already are waited for. */
const handOverMsMax = 5_000;

/** Resolves with the deliveries, packed; none when the time is over. Rejects with QueueError. */
export function receive(
  set: AcknowledgementSet,
  call: ReceiveCall,
  link: ServiceLink,
  id: number,
): Promise<ArrayBuffer> {
  const { name, countMax, waitMs, visibilityMs } = call;
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | null = null;
    const stop = (): void => {
      if (timer !== null) clearTimeout(timer);
      link.waits.delete(id);
      set.removeConsumer(consumer);
    };
    const finish = (deliveries: readonly Delivery[]): void => {
      if (visibilityMs !== null) for (const delivery of deliveries) set.extend(delivery, visibilityMs);
      stop();
      resolve(packDeliveries(deliveries));
    };
    const consumer = set.addConsumer({
      name,
      onClose: 'keep',
      inFlightMax: countMax,
      credit: countMax,
      onMessages: finish,
      onEnd: (reason) => {
        stop();
        reject(reason);
      },
    });
    const onTime = (isLast: boolean): void => {
      timer = null;
      if (!isLast && consumer.inFlight.count > 0) timer = setTimeout(() => onTime(true), handOverMsMax);
      else finish([]);
    };
    timer = setTimeout(() => onTime(false), Math.max(waitMs, waitMsMin));
    // Given up, or the thread of the caller is gone.
    link.waits.set(id, () => {
      if (timer !== null) clearTimeout(timer);
      onTime(link.isClosed);
    });
  });
}
