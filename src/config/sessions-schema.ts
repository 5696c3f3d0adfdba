/** Settings of durable sessions. Section `sessions`. Main thread; a value has its default here and nowhere else. */
import { boolean, choice, integer, section } from '../core/settings/schema-builders.ts';

const mebibyte = 1024 * 1024;

export const sessionsSchema = section(
  {
    durable: boolean({
      description:
        'Whether sessions that outlive their connection are stored, with the messages that wait for them. Otherwise they live in memory and end with the broker.',
      default: true,
    }),
    partitions: integer({
      description:
        'Message logs over which topics are spread. More can be had with a later start; fewer cannot, those that there are stay in use.',
      default: 1,
      minimum: 1,
      maximum: 64,
    }),
    sessionsMax: integer({
      description: 'Durable sessions of one connection worker, connected or not; beyond it new ones are refused.',
      default: 1_000_000,
      minimum: 1,
      maximum: 100_000_000,
    }),
    countMax: integer({
      description: 'Messages that may wait for one session.',
      default: 100_000,
      minimum: 1,
      maximum: 1_000_000_000,
    }),
    bytesMax: integer({
      description: 'Bytes of messages that may wait for one session.',
      default: 256 * mebibyte,
      minimum: 1024,
      maximum: 1_099_511_627_776,
    }),
    ageMsMax: integer({
      description: 'Age beyond which a message that waits is not delivered any more, ms; 0: no bound.',
      default: 0,
      minimum: 0,
      maximum: 315_360_000_000,
    }),
    overflow: choice(['drop-oldest', 'refuse-newest'], {
      description: 'Which messages go when more wait for a session than may.',
      default: 'drop-oldest',
    }),
    logBytesMax: integer({
      description:
        'Size of one message log, bytes; beyond it the oldest messages go, whoever waits for them. 0: no bound.',
      default: 16_384 * mebibyte,
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
    }),
  },
  { description: 'Sessions that outlive their connection, and the broker.' },
);
