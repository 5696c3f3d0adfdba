/** Settings of durable sessions. Section `sessions`. Main thread; a value has its default here and nowhere else. */
import { boolean, choice, integer, optional, section } from '../core/settings/schema-builders.ts';

const mebibyte = 1024 * 1024;

const groups = section(
  {
    countMax: optional(
      integer({
        description: 'Messages that may wait for one group; absent: as for a session.',
        minimum: 1,
        maximum: 1_000_000_000,
      }),
    ),
    bytesMax: optional(
      integer({
        description: 'Bytes of messages that may wait for one group; absent: as for a session.',
        minimum: 1024,
        maximum: 1_099_511_627_776,
      }),
    ),
    ageMsMax: optional(
      integer({
        description:
          'Age beyond which a message of a group is not delivered any more, ms; 0: no bound; absent: as for a session.',
        minimum: 0,
        maximum: 315_360_000_000,
      }),
    ),
    overflow: optional(
      choice(['drop-oldest', 'refuse-newest'], {
        description: 'Which messages go when more wait for a group than may; absent: as for a session.',
      }),
    ),
    emptyMs: integer({
      description:
        'How long a group is kept after the last stored session has left it or ended, with what waits and what comes, for whoever subscribes next, ms. 0: it ends within some seconds, and keeps nothing meanwhile.',
      default: 0,
      minimum: 0,
      maximum: 31_536_000_000,
    }),
    groupsMax: integer({
      description:
        'Groups that one connection worker owns; beyond it no stored session can be the first one of another group.',
      default: 100_000,
      minimum: 1,
      maximum: 10_000_000,
    }),
    inFlightMax: integer({
      description:
        'Messages of one group that its members have and have not acknowledged; beyond it the group gives nothing until some of them are.',
      default: 16_384,
      minimum: 1,
      maximum: 1_000_000,
    }),
    memberInFlightMax: integer({
      description: 'The same for one member; its Receive Maximum holds where it is smaller.',
      default: 1024,
      minimum: 1,
      maximum: 65_535,
    }),
    heldUpMax: integer({
      description:
        'Messages of one group with a hash strategy that are passed over, since the member of their hash has no room; beyond it the group waits for that member.',
      default: 1024,
      minimum: 0,
      maximum: 1_000_000,
    }),
  },
  { description: 'Groups of shared subscriptions with at least one stored session.' },
);

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
    ownerLostAfterMs: integer({
      description:
        'In a cluster: how long a node may be gone before its stored sessions are given up, and their clients get new ones elsewhere, ms. Until then, and with 0 until the node is removed from the cluster, such a client is refused.',
      default: 0,
      minimum: 0,
      maximum: 315_360_000_000,
    }),
    groups,
  },
  { description: 'Sessions that outlive their connection, and the broker.' },
);
