/** What the queue services answer instead of doing what they were asked. Thread: the owner of the services. */

/** Code → what it means. */
export const queueErrorCodes = {
  QUEUE_BATCH_UNREADABLE: 'A batch of the stream cannot be decompressed or read. Seek behind it to go on.',
  QUEUE_CLOSED: 'The acknowledgement set or the service was closed.',
  QUEUE_EXISTS: 'There is a queue of this name already.',
  QUEUE_FENCED: 'Another owner of this queue is known. What was not confirmed may be lost.',
  QUEUE_GENERATION_STALE: 'A newer generation of the group is known, or the group has none.',
  QUEUE_GROUP_EXISTS: 'The queue has a group of this name already.',
  QUEUE_GROUP_IN_USE: 'The group has members. Stop them first.',
  QUEUE_GROUP_UNKNOWN: 'There is no group of this name.',
  QUEUE_LIMIT: 'More than a named limit was asked for.',
  QUEUE_SETTING_INVALID: 'A setting is out of its range.',
  QUEUE_STATE_CORRUPTED: 'A stored record of the service is not one. The message names stream and offset.',
  QUEUE_STORAGE_FAILED: 'The storage refused a record of the service for good, for the reason in the message.',
  QUEUE_UNKNOWN: 'There is no queue of this name.',
} as const;

export type QueueErrorCode = keyof typeof queueErrorCodes;

export class QueueError extends Error {
  override readonly name = 'QueueError';
  readonly code: QueueErrorCode;

  constructor(code: QueueErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}
