/**
 * One subscription to a stream: reads its partitions and gives the records to the client, as far as there is room. Thread: the worker of
 * the session. Records of one partition keep their order. With QoS 1 a record is passed when it is acknowledged: the position of a
 * partition is its oldest record that is not.
 */
import type { StreamPartition } from '../../../core/ports/stream-store.ts';
import { PartitionReader } from '../../../core/queues/partition-reader.ts';
import type { QueueContext } from '../../../core/queues/queue-context.ts';
import type { StoredMessage } from '../../../core/queues/stored-message.ts';
import { matches } from '../../../core/routing/topic.ts';
import { frameOfRecord, recordedMessage } from './feed-frame.ts';
import { isCodeOf } from './storage-codes.ts';
import type { StreamMetrics } from './stream-metrics.ts';

/** Reads whose answers are held at a time: half a mebibyte each, for one subscription. */
const heldMax = 2;
/** Records that are looked at before others have their turn, and milliseconds. */
const turnRecordsMax = 512;
const turnMs = 5;

/** The side of the client. */
export interface FeedOutlet {
  /** Whether a record of this QoS can be sent now. */
  hasRoom(qos: 0 | 1): boolean;
  /** Answers the packet id; 0 with QoS 0; -1 when the client can never take it. */
  send(frame: Buffer, qos: 0 | 1, identifier: number, expiresAtMs: number): number;
}

export interface FeedSource {
  readonly partition: StreamPartition;
  readonly position: number;
}

export interface StreamFeedOptions {
  readonly stream: string;
  /** Null: all records. */
  readonly filter: string | null;
  readonly qos: 0 | 1;
  /** Subscription identifier, 0 for none. */
  readonly identifier: number;
  readonly context: QueueContext;
  readonly metrics: StreamMetrics;
  /** A record is on its way with this packet id. */
  onSent(packetId: number, partition: FeedPartition, offset: number): void;
  /** There is more than the client takes now: the feed is pumped again when there is room, and some time later in any case. */
  onBlocked(): void;
  /** A partition cannot be read now; it is tried again. */
  onProblem(partition: FeedPartition, problem: Error): void;
  /** A partition of the stream was removed. */
  onGone(): void;
}

export class FeedPartition {
  readonly number: number;
  readonly partition: StreamPartition;
  readonly reader: PartitionReader;
  /** Offsets on their way, ascending. */
  readonly inFlight = new Set<number>();
  /** What is stored. */
  storedPosition = -1;
  /** That was told, why it is not read. */
  problem: Error | null = null;

  constructor(number: number, partition: StreamPartition, reader: PartitionReader) {
    this.number = number;
    this.partition = partition;
    this.reader = reader;
  }

  get name(): string {
    return this.partition.name;
  }

  /** Everything below was acknowledged, or is not for the client. */
  get position(): number {
    const first = this.inFlight.values().next();
    return first.done === true ? this.reader.position : first.value;
  }
}

export class StreamFeed {
  readonly partitions: FeedPartition[] = [];
  private readonly options: StreamFeedOptions;
  private outlet: FeedOutlet | null = null;
  private next = 0;
  private isPumpDue = false;
  private recordsLeft = 0;
  private isClosed = false;

  constructor(options: StreamFeedOptions) {
    this.options = options;
  }

  /** Adds partitions that the stream has beside those that are here already. */
  add(sources: readonly FeedSource[]): void {
    for (const { partition, position } of sources) {
      const { context } = this.options;
      const onReady = (): void => this.pumpSoon();
      const reader = new PartitionReader({ partition, position, context, decompress: null, onReady });
      this.partitions.push(new FeedPartition(this.partitions.length, partition, reader));
    }
    this.pumpSoon();
  }

  /** The client is there, or gone. */
  attach(outlet: FeedOutlet | null): void {
    this.outlet = outlet;
    if (outlet === null) this.letGo();
    else this.pumpSoon();
  }

  /** What was read and cannot be sent is read again later: a client that takes nothing holds no memory. */
  letGo(): void {
    for (const { reader } of this.partitions) if (reader.hasAnswer) reader.seek(reader.position);
  }

  get isBlocked(): boolean {
    return this.outlet?.hasRoom(this.options.qos) !== true && this.partitions.some(({ reader }) => reader.hasAnswer);
  }

  close(): void {
    this.isClosed = true;
    this.outlet = null;
    for (const { reader } of this.partitions) reader.close();
  }

  pumpSoon(): void {
    if (this.isPumpDue || this.isClosed || this.outlet === null) return;
    this.isPumpDue = true;
    setImmediate(() => {
      this.isPumpDue = false;
      this.pump();
    });
  }

  /** Gives the client what it takes, the partitions in turn. */
  private pump(): void {
    const { outlet, partitions } = this;
    const { qos } = this.options;
    if (this.isClosed || outlet === null) return;
    const limitMs = performance.now() + turnMs;
    this.recordsLeft = turnRecordsMax;
    let held = 0;
    for (const { reader } of partitions) if (reader.hasAnswer) held += 1;
    for (let count = 0; count < partitions.length; count++) {
      if (!outlet.hasRoom(qos)) {
        this.options.onBlocked();
        return;
      }
      if (this.recordsLeft <= 0 || performance.now() >= limitMs) {
        this.pumpSoon();
        return;
      }
      const partition = partitions[this.next] as FeedPartition;
      this.next = (this.next + 1) % partitions.length;
      const { reader } = partition;
      if (isCodeOf(reader.problem, 'STORAGE_PARTITION_UNKNOWN')) {
        this.options.onGone();
        return;
      }
      if (reader.problem !== null && reader.problem !== partition.problem)
        this.options.onProblem(partition, reader.problem);
      partition.problem = reader.problem;
      if (reader.hasAnswer) this.tell(partition, outlet);
      else if (held < heldMax) {
        reader.fetch();
        held += 1;
      }
    }
    if (this.isClosed) return;
    if (partitions.some(({ reader }) => reader.hasAnswer) && outlet.hasRoom(qos)) this.pumpSoon();
  }

  private tell(partition: FeedPartition, outlet: FeedOutlet): void {
    partition.reader.tell({
      message: (record) => {
        this.recordsLeft -= 1;
        this.give(partition, record, outlet);
        return this.recordsLeft > 0 && !this.isClosed && outlet.hasRoom(this.options.qos);
      },
      gap: () => undefined,
    });
    if (!partition.reader.hasAnswer) partition.reader.fetch();
  }

  private give(partition: FeedPartition, record: StoredMessage, outlet: FeedOutlet): void {
    const { stream, filter, qos, identifier, metrics, onSent } = this.options;
    if (record.expiresAt <= Date.now()) {
      metrics.countDelivered('expired');
      return;
    }
    const message = recordedMessage(record);
    if (filter !== null && (message.topic === null || !matches(filter, message.topic))) {
      metrics.countDelivered('unmatched');
      return;
    }
    const frame = frameOfRecord({ stream, partition: partition.number }, record, message, qos);
    const expiresAtMs = record.expiresAt === Infinity ? 0 : record.expiresAt;
    const packetId = outlet.send(frame, qos, identifier, expiresAtMs);
    if (packetId < 0) {
      metrics.countDelivered('too-large');
      return;
    }
    metrics.countDelivered('sent');
    if (packetId === 0) return;
    partition.inFlight.add(record.offset);
    onSent(packetId, partition, record.offset);
  }
}
