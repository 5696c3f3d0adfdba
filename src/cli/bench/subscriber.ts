/**
 * A subscriber of the load harness: counts, checks sequence numbers, samples latency, acknowledges. Its loop over the
 * frames of a chunk is the hot path of the harness: headers are read, payloads only where number and time stand.
 * Thread of the harness; created by `run.ts`.
 */
import { addAcknowledgement, flushAcknowledgements } from './acknowledgements.ts';
import { type BenchConnection, noteDisconnect, type Role } from './connection.ts';
import { type BenchPlan, hasHeader } from './options.ts';
import { SequenceTracker } from './sequence-tracker.ts';
import { nowMs, recordMs, type Statistics } from './statistics.ts';
import {
  encodeSubscribe,
  HEADER_BYTES,
  PUBREL,
  reasonText,
  SEQUENCE_OFFSET,
  SOURCE_MARK,
  SOURCE_OFFSET,
  SUBACK,
  skipProperties,
} from './wire.ts';

export interface SubscriberHooks {
  /** SUBACK came; `refusal` says why it was a no. */
  readonly onReady: (refusal: string | null) => void;
  /** Messages arrived: whoever waits for deliveries may go on. */
  readonly onProgress: () => void;
}

export class Subscriber implements Role {
  readonly tracker = new SequenceTracker();
  /** Highest sequence number seen, by publisher; grows with the publishers seen. */
  private latest = new Float64Array(16);
  private connection: BenchConnection | null = null;
  private countdown = 1;
  private readonly plan: BenchPlan;
  private readonly statistics: Statistics;
  private readonly filter: string;
  private readonly hooks: SubscriberHooks;
  private readonly isTracking: boolean;
  /** One delivery in this many is timed. */
  private readonly sampleStride: number;
  /** A publisher's number is divided by this to find its place in `latest`. */
  private readonly slotDivisor: number;

  constructor(plan: BenchPlan, statistics: Statistics, filter: string, sampleStride: number, hooks: SubscriberHooks) {
    this.plan = plan;
    this.statistics = statistics;
    this.filter = filter;
    this.sampleStride = sampleStride;
    this.hooks = hooks;
    this.isTracking = hasHeader(plan);
    this.slotDivisor = plan.isWildcard ? 1 : plan.topics;
  }

  get isConnected(): boolean {
    return this.connection?.isConnected === true;
  }

  onConnected(connection: BenchConnection): void {
    this.connection = connection;
    connection.write(encodeSubscribe(this.plan.version, 1, this.filter, this.plan.qos));
  }

  consume(buffer: Buffer, view: DataView, start: number, end: number): number {
    const statistics = this.statistics;
    const isVersion5 = this.plan.version === 5;
    let at = start;
    let received = 0;
    let own = 0;
    let arrivalMs = 0;
    while (end - at >= 2) {
      const first = buffer[at];
      let body = at + 2;
      let remaining = buffer[at + 1];
      if (remaining > 127) {
        remaining &= 127;
        let shift = 7;
        let byte = 128;
        while (byte > 127 && body < end && shift < 28) {
          byte = buffer[body++];
          remaining |= (byte & 127) << shift;
          shift += 7;
        }
        if (byte > 127) {
          if (shift >= 28) throw new Error('Cannot read a packet: its length has more than four bytes');
          break;
        }
      }
      const next = body + remaining;
      if (next > end) break;
      if (first >> 4 !== 3) {
        this.onControl(buffer, first, body, next);
        at = next;
        continue;
      }
      received++;
      let payload = body + 2 + ((buffer[body] << 8) | buffer[body + 1]);
      if ((first & 0x06) !== 0) {
        this.acknowledge(first, (buffer[payload] << 8) | buffer[payload + 1]);
        payload += 2;
      }
      if (isVersion5) payload = buffer[payload] === 0 ? payload + 1 : skipProperties(buffer, payload);
      if (this.isTracking && next - payload >= HEADER_BYTES) {
        const source = view.getUint32(payload + SOURCE_OFFSET, true);
        if (source >>> 20 === SOURCE_MARK) {
          own++;
          this.track(source & 0xfffff, view.getUint32(payload + SEQUENCE_OFFSET, true));
          if (--this.countdown === 0) {
            this.countdown = this.sampleStride;
            if (arrivalMs === 0) arrivalMs = nowMs();
            recordMs(statistics.deliveryLatency, arrivalMs - view.getFloat64(payload, true));
          }
        }
      }
      at = next;
    }
    statistics.received += received;
    statistics.receivedBytes += at - start;
    statistics.ownReceived += this.isTracking ? own : received;
    return at;
  }

  onChunkEnd(): void {
    if (this.connection !== null) flushAcknowledgements(this.connection);
    this.hooks.onProgress();
  }

  onClosed(): void {
    this.hooks.onReady('connection closed');
  }

  private track(publisher: number, sequence: number): void {
    const slot = this.slotDivisor === 1 ? publisher : Math.floor(publisher / this.slotDivisor);
    if (slot >= this.latest.length) this.growTo(slot + 1);
    const expected = this.latest[slot] + 1;
    // Somebody else's publishers may be long at work when `sub` mode comes, so there any first number will do.
    const isExpected = sequence === expected || (expected === 1 && this.plan.publishers === 0);
    this.latest[slot] = isExpected ? sequence : this.tracker.takeUnexpected(slot, expected, sequence) - 1;
  }

  private growTo(slotCount: number): void {
    const grown = new Float64Array(Math.max(slotCount, this.latest.length * 2));
    grown.set(this.latest);
    this.latest = grown;
  }

  private acknowledge(first: number, packetId: number): void {
    if ((first & 0x08) !== 0) this.statistics.dupFlags++;
    if (this.connection !== null) addAcknowledgement(this.connection, (first & 0x06) === 2 ? 0x40 : 0x50, packetId);
  }

  private onControl(buffer: Buffer, first: number, body: number, end: number): void {
    const connection = this.connection;
    if (connection === null || noteDisconnect(connection, buffer, first, body, end)) return;
    if (first >> 4 === PUBREL) addAcknowledgement(connection, 0x70, buffer.readUInt16BE(body));
    else if (first >> 4 === SUBACK) {
      const code = buffer[end - 1];
      this.hooks.onReady(code >= 0x80 ? `subscription refused: ${reasonText(code)}` : null);
    }
  }
}
