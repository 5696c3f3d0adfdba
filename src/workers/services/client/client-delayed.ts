/** Delayed messages as a thread uses them that does not have them. Made by the services client of a thread. */

import type { NewRecord } from '../../../core/batch/batch-builder.ts';
import { DelayedError } from '../../../core/delayed/delayed-error.ts';
import { encodeMessage } from '../../../core/delayed/stored-message.ts';
import type {
  CancelOutcome,
  Delayed,
  DelayedHandle,
  DelayedMessage,
  WaitingMessage,
} from '../../../core/ports/delayed.ts';
import type { ServiceCalls } from './service-calls.ts';

const targetPattern = /^[A-Za-z0-9._-]{1,249}$/;

export function createDelayed(calls: ServiceCalls): Delayed {
  const accept = async (
    timeMs: number,
    { target, record }: DelayedMessage,
    isDelay: boolean,
  ): Promise<DelayedHandle> => {
    const message = packMessage(target, record);
    const call = { call: 'delay', timeMs: Number(timeMs), isDelay, message } as const;
    return (await calls.run(call, { moved: message })) as DelayedHandle;
  };
  return {
    acceptAt: (dueMs, message) => accept(dueMs, message, false),
    acceptAfter: (delayMs, message) => accept(delayMs, message, true),
    cancel: async ({ number, dueMs }) => {
      const handle = { number: Number(number), dueMs: Number(dueMs) };
      return (await calls.run({ call: 'delay-cancel', handle })) as CancelOutcome;
    },
    list: async (countMax) => {
      const found = await calls.run({ call: 'delay-list', countMax: Number(countMax) }, { canRepeat: true });
      return found as { readonly messages: readonly WaitingMessage[]; readonly isComplete: boolean };
    },
  };
}

/** A message in memory of its own, to be moved. @throws DelayedError DELAYED_INVALID */
export function packMessage(target: string, record: NewRecord): ArrayBuffer {
  if (!targetPattern.test(target)) {
    throw new DelayedError(
      'DELAYED_INVALID',
      `Cannot keep a message for "${String(target).slice(0, 300)}": it is no partition`,
    );
  }
  const bytes = encodeMessage(0, 0, target, record);
  const memory = new ArrayBuffer(bytes.length);
  bytes.copy(new Uint8Array(memory));
  return memory;
}
