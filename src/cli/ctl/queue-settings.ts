/** Flags that say how a group of a queue is to be, for the verbs that make and change one. Main thread of the command's process. */
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { UsageError } from '../exit-codes.ts';

export const groupOption: OptionSpec = { long: 'group', value: 'GROUP', help: 'group of the queue (default)' };

export const queueSettingOptions: readonly OptionSpec[] = [
  { long: 'visibility-ms', value: 'MS', help: 'time that a consumer has for a message; or none' },
  { long: 'deliveries', value: 'COUNT', help: 'deliveries that may fail; or none' },
  { long: 'retry-ms', value: 'MS', help: 'wait before a failed message comes again' },
  { long: 'retry-factor', value: 'N', help: 'by which that wait grows with each failure' },
  { long: 'retry-max-ms', value: 'MS', help: 'longest wait' },
  { long: 'dead-letters', value: 'STREAM', help: 'stream with one partition for messages that failed; or none' },
  { long: 'ttl-ms', value: 'MS', help: 'age after which a message is not delivered; or none' },
  { long: 'expired', value: 'drop|dead-letter', help: 'what becomes of messages that are too old' },
  { long: 'order', value: 'none|key|sticky-key', help: 'whether messages of one key wait for each other' },
  { long: 'consumers', value: 'shared|exclusive', help: 'whether one consumer gets all' },
  { long: 'priority', value: 'strict|guarded', help: 'whether low levels of priority are served now and then' },
  { long: 'settlement', value: 'stored|async', help: 'whether a settlement is confirmed when it is durable' },
  { long: 'delivery-count', value: 'stored|async', help: 'whether deliveries are counted durably before they go out' },
  { long: 'holes', value: 'COUNT', help: 'messages of a partition that may be read and not settled' },
];

/** The field `group`, when the flag is there. */
export function groupField(options: ParsedArguments): { readonly group?: string } {
  const group = options.text('group');
  return group === undefined ? {} : { group };
}

/** Flag, field of the API, and whether it may be none. */
const numbers = [
  ['visibility-ms', 'visibilityMs', true],
  ['deliveries', 'deliveriesMax', true],
  ['ttl-ms', 'ttlMs', true],
  ['holes', 'holesMax', false],
] as const;

const words = [
  ['expired', 'expired'],
  ['order', 'order'],
  ['consumers', 'consumers'],
  ['priority', 'priority'],
  ['settlement', 'settlement'],
  ['delivery-count', 'deliveryCount'],
] as const;

/** The field `settings`, with what was given. Throws `UsageError`. */
export function readQueueSettings(options: ParsedArguments): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const [flag, field, canBeNone] of numbers) {
    if (!options.has(flag)) continue;
    settings[field] = canBeNone && options.text(flag) === 'none' ? null : options.integer(flag, 0, 1);
  }
  for (const [flag, field] of words) {
    const value = options.text(flag);
    const known = queueSettingOptions.find(({ long }) => long === flag)?.value ?? '';
    if (value === undefined) continue;
    if (!known.split('|').includes(value)) {
      throw new UsageError(`Cannot use --${flag} "${value}": expected ${known.replaceAll('|', ', ')}`);
    }
    settings[field] = value;
  }
  const dead = options.text('dead-letters');
  if (dead !== undefined) settings.deadLetterStream = dead === 'none' ? null : dead;
  const redelivery = {
    ...(options.has('retry-ms') ? { baseMs: options.integer('retry-ms', 0) } : {}),
    ...(options.has('retry-factor') ? { factor: options.number('retry-factor', 1, 1, 100) } : {}),
    ...(options.has('retry-max-ms') ? { maxMs: options.integer('retry-max-ms', 0) } : {}),
  };
  if (Object.keys(redelivery).length > 0) settings.redelivery = redelivery;
  return settings;
}
