/**
 * What is stored of a queue and its groups, as JSON in the internal stream of the queue service. Pure; any thread.
 */
import { hashBytes } from '../../std/hash.ts';
import { priorityLevelsMax } from './priority.ts';
import { QueueError } from './queue-error.ts';
import { defaultQueueSettings, type QueueSettings, queueSettings } from './queue-settings.ts';

export const queuePartitionsMax = 1024;
export const groupsPerQueueMax = 1024;
export const queueNameBytesMax = 1024;

export interface GroupDefinition {
  /** Never used again: producer ids come from it. */
  readonly id: number;
  readonly start: 'earliest' | 'latest';
  readonly settings: QueueSettings;
}

export interface QueueDefinition {
  readonly name: string;
  readonly id: number;
  readonly partitions: readonly { readonly stream: string; readonly level: number }[];
  /** The streams were made for the queue, and go with it. */
  readonly ownsStreams: boolean;
  /** What all groups have settled is deleted from the streams. */
  readonly deletesSettled: boolean;
  /** It is being deleted: a crash must not stop that half way. */
  readonly isDeleting: boolean;
  /** Internal streams of groups that are being deleted. */
  readonly removals: readonly string[];
  readonly groups: ReadonlyMap<string, GroupDefinition>;
}

/** How a new queue is to be. */
export interface QueueOptions {
  /** Existing streams that are read as a queue; default: streams of its own. */
  readonly streams?: readonly string[];
  /** Streams of its own, for each level. Default 1: more keep order by key only. */
  readonly partitions?: number;
  /** Levels of priority, with streams of its own. Default 1. */
  readonly levels?: number;
  /** Default true with streams of its own, false with existing ones. */
  readonly deletesSettled?: boolean;
  /** Of the group `default`. */
  readonly settings?: Partial<QueueSettings>;
  readonly start?: 'earliest' | 'latest';
}

export const defaultGroup = 'default';

/** @throws QueueError QUEUE_SETTING_INVALID, QUEUE_LIMIT */
export function newDefinition(name: string, id: number, options: QueueOptions): QueueDefinition {
  const { streams, partitions = 1, levels = 1, settings = {}, start = 'earliest' } = options;
  if (name === '' || Buffer.byteLength(name) > queueNameBytesMax) {
    throw new QueueError(
      'QUEUE_SETTING_INVALID',
      `Cannot create a queue: its name has 1 to ${queueNameBytesMax} bytes`,
    );
  }
  if (streams !== undefined && (options.partitions !== undefined || options.levels !== undefined)) {
    throw new QueueError(
      'QUEUE_SETTING_INVALID',
      `Cannot create queue "${name}": it has streams or partitions, not both`,
    );
  }
  const count = streams?.length ?? partitions * levels;
  const isCounted = Number.isInteger(partitions) && Number.isInteger(levels) && levels >= 1 && count >= 1;
  if (!isCounted || levels > priorityLevelsMax || count > queuePartitionsMax) {
    throw new QueueError('QUEUE_LIMIT', `Cannot create queue "${name}": it would have ${count} streams`);
  }
  const own = Array.from({ length: levels }, (_, level) =>
    Array.from({ length: partitions }, (__, part) => ({ stream: `_queue-${id}-${level}-${part}`, level })),
  ).flat();
  return {
    name,
    id,
    partitions: streams?.map((stream) => ({ stream, level: 0 })) ?? own,
    ownsStreams: streams === undefined,
    deletesSettled: options.deletesSettled ?? streams === undefined,
    isDeleting: false,
    removals: [],
    groups: new Map([[defaultGroup, { id: id + 1, start, settings: queueSettings(settings) }]]),
  };
}

/** Name of the internal stream of a group. */
export function stateStreamOf(queue: QueueDefinition, group: GroupDefinition): string {
  return `_queue-${queue.id}-group-${group.id}`;
}

/** Highest id that the definition uses. */
export function lastIdOf({ id, groups }: QueueDefinition): number {
  return Math.max(id, ...[...groups.values()].map((group) => group.id));
}

/** Index of the partition for a message of this level; messages of a key stay together, others take turns by `turn`. */
export function partitionFor(queue: QueueDefinition, level: number, key: Uint8Array | null, turn: number): number {
  const first = queue.partitions.findIndex((partition) => partition.level === level);
  const count = queue.partitions.filter((partition) => partition.level === level).length;
  // Without a seed: the place of a key must be the same after a restart.
  const number = key === null ? turn : hashBytes(key, 0, key.length) >>> 0;
  return first + (number % count);
}

export function encodeDefinition({ groups, ...rest }: QueueDefinition): Buffer {
  return Buffer.from(JSON.stringify({ ...rest, groups: [...groups] }));
}

/** Null when it is not one. Settings that a newer release has get their defaults. */
export function decodeDefinition(value: Buffer): QueueDefinition | null {
  try {
    const { groups, ...rest } = JSON.parse(value.toString()) as Omit<QueueDefinition, 'groups'> & {
      readonly groups: readonly (readonly [string, GroupDefinition])[];
    };
    if (typeof rest.name !== 'string' || !Array.isArray(rest.partitions)) return null;
    const known = groups.map(([name, group]) => {
      return [name, { ...group, settings: { ...defaultQueueSettings, ...group.settings } }] as const;
    });
    return { ...rest, groups: new Map(known) };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}
