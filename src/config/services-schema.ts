/**
 * Settings of the services over the storage: queues, cursors, delayed messages, transactions. Section `services`. Main thread; a value
 * has its default here and nowhere else.
 */
import type { Static } from 'typebox';
import { integer, section, text } from '../core/settings/schema-builders.ts';

const mebibyte = 1024 * 1024;
const dayMs = 86_400_000;

const partitionPattern = '^([A-Za-z0-9._-]{1,249})?$';

export const servicesSchema = section(
  {
    callsMax: integer({
      description: 'Calls of one thread to the services that may wait for an answer; more are refused.',
      default: 10_000,
      minimum: 1,
      maximum: 1_000_000,
    }),
    callTimeoutMs: integer({
      description: 'How long a call to the services waits for its answer, ms.',
      default: 30_000,
      minimum: 100,
      maximum: 600_000,
    }),
    deliveryBytesMax: integer({
      description:
        'Messages of queues that are on their way to one thread and that it has not looked at; beyond it its consumers wait.',
      default: 16 * mebibyte,
      minimum: mebibyte,
      maximum: 1024 * mebibyte,
    }),
    cursorRetentionMs: integer({
      description: 'Age after which the cursor of a group without members is forgotten, ms; 0 keeps it for ever.',
      default: 7 * dayMs,
      minimum: 0,
      maximum: 3_650 * dayMs,
    }),
    delayed: section(
      {
        pendingMax: integer({
          description: 'Messages that may wait for their time; more are refused.',
          default: 10_000_000,
          minimum: 0,
          maximum: 1_000_000_000,
        }),
        delayMsMax: integer({
          description: 'Longest delay of a message, ms.',
          default: 500 * dayMs,
          minimum: 1,
          maximum: 500 * dayMs,
        }),
        recordBytesMax: integer({
          description: 'Key, value and headers of a message that waits.',
          default: mebibyte,
          minimum: 1024,
          maximum: 8 * mebibyte,
        }),
        bodyBytesMax: integer({
          description: 'Messages that are due soon and kept in memory; others are read when they are due.',
          default: 64 * mebibyte,
          minimum: mebibyte,
          maximum: 1024 * 1024 * mebibyte,
        }),
        deadLetterPartition: text({
          description:
            'Partition for messages that their target refuses for good, for example `dead-0`. Empty: they are dropped, and counted.',
          default: '',
          maxLength: 249,
          pattern: partitionPattern,
        }),
      },
      { description: 'Messages that are written later.' },
    ),
    transactions: section(
      {
        timeoutMsMax: integer({
          description: 'Longest time that a producer may ask for its transactions, ms.',
          default: 900_000,
          minimum: 1_000,
          maximum: dayMs,
        }),
        expiryMs: integer({
          description: 'Names of producers that were not used for so long are forgotten, ms.',
          default: 7 * dayMs,
          minimum: 60_000,
          maximum: 3_650 * dayMs,
        }),
        namesMax: integer({
          description: 'Names of transactional producers.',
          default: 100_000,
          minimum: 1,
          maximum: 10_000_000,
        }),
        partitionsMax: integer({
          description: 'Partitions and groups of one transaction.',
          default: 10_000,
          minimum: 1,
          maximum: 1_000_000,
        }),
      },
      { description: 'Transactions over several partitions.' },
    ),
    halfMessages: section(
      {
        firstCheckMs: integer({
          description: 'Time after which the producers of an undecided message are asked for the first time, ms.',
          default: 6_000,
          minimum: 100,
          maximum: dayMs,
        }),
        checkMs: integer({
          description: 'Time between two questions, ms.',
          default: 30_000,
          minimum: 100,
          maximum: dayMs,
        }),
        checksMax: integer({
          description: 'How often is asked before the message is given up.',
          default: 15,
          minimum: 0,
          maximum: 10_000,
        }),
        pendingMax: integer({
          description: 'Undecided messages; more are refused.',
          default: 200_000,
          minimum: 1,
          maximum: 10_000_000,
        }),
        deadLetterPartition: text({
          description: 'Partition for messages that were given up. Empty: they are rolled back.',
          default: '',
          maxLength: 249,
          pattern: partitionPattern,
        }),
      },
      { description: 'Messages that are stored before their producer has decided about them.' },
    ),
  },
  { description: 'What is built over the storage of streams: queues, cursors, delayed messages, transactions.' },
);

export type ServicesSettings = Static<typeof servicesSchema>;
