/**
 * A publisher of the load harness. It owns a buffer of ready-made PUBLISH frames and patches times, sequence numbers and
 * packet ids before each write, so that one system call carries as many messages as fit.
 * Thread of the harness; created by `run.ts`, pumped by `driver.ts`.
 */
import { addAcknowledgement, flushAcknowledgements } from './acknowledgements.ts';
import { type BenchConnection, noteDisconnect, type Role } from './connection.ts';
import { type BenchPlan, hasHeader } from './options.ts';
import { count, nowMs, recordMs, type Statistics } from './statistics.ts';
import {
  bodyStart,
  type ConnackLimits,
  encodePublish,
  frameLength,
  PUBACK,
  PUBCOMP,
  PUBREC,
  reasonText,
  SEQUENCE_OFFSET,
  SOURCE_MARK,
  SOURCE_OFFSET,
} from './wire.ts';

/** What one write carries at most, unless one frame alone is larger. */
const BATCH_BYTES = 64 * 1024;
/** All publishers' buffers together. */
const BATCHES_BYTES = 64 * 1024 * 1024;

export interface PublisherHooks {
  /** CONNACK came and its limits fit the plan; `refusal` says what does not. */
  readonly onReady: (refusal: string | null) => void;
  /** Acknowledged, or writable again: it may send more. */
  readonly onProgress: (publisher: Publisher) => void;
}

export class Publisher implements Role {
  /** Number among the publishers, from 0; stands in each payload. */
  readonly index: number;
  /** Messages sent; also the last sequence number. */
  sequence = 0;
  /** Fixed rate: messages that are due and not sent. */
  due = 0;
  inFlight = 0;
  private connection: BenchConnection | null = null;
  private window: number;
  private nextPacketId = 1;
  private readonly plan: BenchPlan;
  private readonly statistics: Statistics;
  private readonly hooks: PublisherHooks;
  private readonly frameBytes: number;
  private readonly payloadOffset: number;
  private readonly packetIdOffset: number;
  private readonly batch: Buffer;
  private readonly view: DataView;
  private readonly batchFrames: number;
  private readonly hasHeader: boolean;
  /** Send time by packet id, 0 for a free id; a power of two of places. */
  private readonly sentAtMs: Float64Array;
  private readonly sampleStride: number;
  private countdown = 1;

  constructor(
    plan: BenchPlan,
    statistics: Statistics,
    index: number,
    topic: string,
    sampleStride: number,
    hooks: PublisherHooks,
  ) {
    this.plan = plan;
    this.statistics = statistics;
    this.index = index;
    this.hooks = hooks;
    this.sampleStride = sampleStride;
    this.window = plan.window;
    const template = encodePublish(plan.version, topic, plan.qos, plan.payloadBytes);
    this.frameBytes = template.bytes.length;
    this.payloadOffset = template.payloadOffset;
    this.packetIdOffset = template.packetIdOffset;
    const share = Math.min(BATCH_BYTES, BATCHES_BYTES / plan.publishers);
    this.batchFrames = Math.max(1, Math.floor(share / this.frameBytes));
    this.batch = Buffer.allocUnsafeSlow(this.frameBytes * this.batchFrames);
    this.view = new DataView(this.batch.buffer, this.batch.byteOffset, this.batch.length);
    this.hasHeader = hasHeader(plan);
    const source = ((SOURCE_MARK << 20) | index) >>> 0;
    for (let at = 0; at < this.batch.length; at += this.frameBytes) {
      template.bytes.copy(this.batch, at);
      if (this.hasHeader) this.view.setUint32(at + this.payloadOffset + SOURCE_OFFSET, source, true);
    }
    this.sentAtMs = new Float64Array(plan.qos === 0 ? 0 : Math.min(65536, 2 ** Math.ceil(Math.log2(plan.window * 4))));
  }

  onConnected(connection: BenchConnection, limits: ConnackLimits): void {
    this.connection = connection;
    this.window = Math.min(this.window, limits.receiveMaximum);
    if (limits.maximumQos < this.plan.qos) this.hooks.onReady(`the broker takes QoS ${limits.maximumQos} at most`);
    else if (this.frameBytes > limits.maximumPacketSize) {
      this.hooks.onReady(`the broker takes packets of ${limits.maximumPacketSize} bytes at most`);
    } else this.hooks.onReady(null);
  }

  get isConnected(): boolean {
    return this.connection?.isConnected === true;
  }

  /** How many messages it could send now. */
  get room(): number {
    const connection = this.connection;
    // The frames of the last write lie in the kernel's queue or are still ours: no patching before they are gone.
    if (connection === null || !connection.isConnected || connection.pendingBytes > 0) return 0;
    return this.plan.qos === 0 ? this.batchFrames : Math.min(this.batchFrames, this.window - this.inFlight);
  }

  /** Sends up to `limit` messages, all with the time of now; returns how many. */
  sendNow(limit: number): number {
    const amount = Math.min(limit, this.room);
    if (amount <= 0) return 0;
    const atMs = nowMs();
    for (let i = 0; i < amount; i++) this.prepare(i, atMs, atMs);
    this.write(amount);
    return amount;
  }

  /** Sends what is due, each with its intended time as `dueAtMs` tells for its number (from 0); returns how many. */
  sendDue(dueAtMs: (sequence: number) => number, delayStride: number): number {
    const amount = Math.min(this.due, this.room);
    if (amount <= 0) return 0;
    const atMs = nowMs();
    for (let i = 0; i < amount; i++) {
      const intendedMs = dueAtMs(this.sequence);
      if (this.sequence % delayStride === 0) recordMs(this.statistics.sendDelay, atMs - intendedMs);
      this.prepare(i, intendedMs, intendedMs);
    }
    this.due -= amount;
    this.write(amount);
    return amount;
  }

  consume(buffer: Buffer, _view: DataView, start: number, end: number): number {
    let at = start;
    while (end - at >= 2) {
      const length = frameLength(buffer, at, end);
      if (length === 0 || at + length > end) break;
      this.onFrame(buffer, at, at + length);
      at += length;
    }
    return at;
  }

  onChunkEnd(): void {
    if (this.connection !== null) flushAcknowledgements(this.connection);
    this.hooks.onProgress(this);
  }

  onWritable(): void {
    this.hooks.onProgress(this);
  }

  onClosed(): void {
    this.hooks.onReady('connection closed');
    this.hooks.onProgress(this);
  }

  private prepare(frame: number, stampMs: number, sentMs: number): void {
    const start = frame * this.frameBytes;
    this.sequence++;
    if (this.hasHeader) {
      const payload = start + this.payloadOffset;
      this.view.setFloat64(payload, stampMs, true);
      this.view.setUint32(payload + SEQUENCE_OFFSET, this.sequence, true);
    }
    if (this.packetIdOffset < 0) return;
    const mask = this.sentAtMs.length - 1;
    // There are more ids than places in the window, so a free one exists; 0 is none (MQTT 3.1.1, 2.3.1).
    while (this.nextPacketId === 0 || this.sentAtMs[this.nextPacketId] !== 0)
      this.nextPacketId = (this.nextPacketId + 1) & mask;
    this.sentAtMs[this.nextPacketId] = sentMs;
    this.view.setUint16(start + this.packetIdOffset, this.nextPacketId);
    this.nextPacketId = (this.nextPacketId + 1) & mask;
    this.inFlight++;
  }

  private write(amount: number): void {
    this.statistics.sent += amount;
    this.connection?.write(this.batch.subarray(0, amount * this.frameBytes));
  }

  private onFrame(buffer: Buffer, start: number, end: number): void {
    const type = buffer[start] >> 4;
    const body = bodyStart(buffer, start);
    const connection = this.connection;
    if (connection === null || noteDisconnect(connection, buffer, buffer[start], body, end)) return;
    if (type !== PUBACK && type !== PUBREC && type !== PUBCOMP) return;
    const packetId = (buffer[body] << 8) | buffer[body + 1];
    const reason = end - body > 2 ? buffer[body + 2] : 0;
    if (reason >= 0x80) {
      count(this.statistics.refusedPublishes, reasonText(reason));
      this.release(packetId);
    } else if (type === PUBREC) addAcknowledgement(connection, 0x62, packetId);
    else if (this.release(packetId)) this.statistics.acknowledged++;
  }

  /** Frees a packet id; false for one that was not in flight. */
  private release(packetId: number): boolean {
    const sentMs = packetId < this.sentAtMs.length ? this.sentAtMs[packetId] : 0;
    if (sentMs === 0) {
      count(this.statistics.refusedPublishes, 'acknowledgement of an unknown packet id');
      return false;
    }
    this.sentAtMs[packetId] = 0;
    this.inFlight--;
    if (--this.countdown === 0) {
      this.countdown = this.sampleStride;
      recordMs(this.statistics.acknowledgeLatency, nowMs() - sentMs);
    }
    return true;
  }
}
