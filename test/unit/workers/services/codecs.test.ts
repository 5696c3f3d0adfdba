import { describe, expect, it } from 'vitest';
import { DelayedError } from '../../../../src/core/delayed/delayed-error.ts';
import { QueueError } from '../../../../src/core/queues/queue-error.ts';
import type { Delivery } from '../../../../src/core/queues/stored-message.ts';
import { StorageError } from '../../../../src/core/streams/storage-error.ts';
import { TransactionError } from '../../../../src/core/transactions/transaction-error.ts';
import { openDeliveries, packDeliveries } from '../../../../src/workers/services/delivery-codec.ts';
import { fromSentServiceError, toSentServiceError } from '../../../../src/workers/services/service-error.ts';

describe('packDeliveries()', () => {
  it('keeps every field of every delivery, those that are missing included', () => {
    const some = (fields: Partial<Delivery['message']>, at: number): Delivery => ({
      partition: at,
      offset: 2 ** 40 + at,
      tag: 2 ** 51 + at,
      deliveryCount: at + 1,
      message: { offset: 2 ** 40 + at, timestamp: -1, key: null, value: null, headers: [], expiresAt: 5, ...fields },
    });
    const deliveries = [
      some({}, 0),
      some({ key: Buffer.alloc(0), value: Buffer.from([0, 255]), expiresAt: Number.POSITIVE_INFINITY }, 1),
      some(
        {
          headers: [
            { key: Buffer.from('h'), value: null },
            { key: Buffer.alloc(0), value: Buffer.from('v') },
          ],
        },
        2,
      ),
    ];
    expect(openDeliveries(packDeliveries(deliveries))).toEqual(deliveries);
    expect(openDeliveries(packDeliveries([]))).toEqual([]);
  });
});

describe('fromSentServiceError()', () => {
  it.each([
    new QueueError('QUEUE_UNKNOWN', 'q'),
    new StorageError('STORAGE_UNAVAILABLE', 's'),
    new TransactionError('TRANSACTION_CONCURRENT', 't'),
    new DelayedError('DELAYED_FULL', 'd'),
  ])('makes %s again with its class', (error) => {
    const sent = toSentServiceError(error);
    const made = sent === null ? null : fromSentServiceError(structuredClone(sent));
    expect([made?.constructor, made?.code, made?.message]).toEqual([error.constructor, error.code, error.message]);
  });

  it('makes an uncertain error of a code that it does not know, and of no object of the prototype chain', () => {
    expect(toSentServiceError(new Error('x'))).toBeNull();
    expect(fromSentServiceError({ code: 'toString', message: 'm' })).toMatchObject({ code: 'STORAGE_UNCERTAIN' });
  });
});
