/**
 * Walks the fields of one whole frame and notes the first fault, before anybody makes strings of them.
 *
 * Connection workers; called by `parse-*.ts`. It never throws: after a fault every method answers 0 or nothing, and the
 * caller asks for `fault` once, at the end.
 */
import { readUint16 } from '../codec/bytes.ts';
import { frameLength, headerLength, readVariableByteInteger, remainingLengthSize } from '../codec/frame.ts';
import { nextProperty, PropertyId, PropertyScan, scanProperties, skipText } from '../codec/properties.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { UserProperties } from './types.ts';

/** The first thing that is wrong with a frame. */
export interface Fault {
  readonly reasonCode: number;
  /** One sentence for the log and the reason string. */
  readonly reason: string;
}

export class FrameReader {
  /** The frame: the caller's, or a private copy once `patch` was called. */
  frame: Buffer;
  position = 0;
  fault: Fault | null = null;
  /** What the last `properties` found. */
  readonly scan = new PropertyScan();
  private owned = false;

  constructor(frame: Buffer) {
    this.frame = frame;
    if (frameLength(frame, 0, frame.length) === frame.length) this.position = headerLength(frame, 0);
    else this.fail(ReasonCode.MALFORMED_PACKET, 'The remaining length does not match the packet');
  }

  get ok(): boolean {
    return this.fault === null;
  }

  get remaining(): number {
    return this.frame.length - this.position;
  }

  /** Notes a fault unless there is one already. */
  fail(reasonCode: number, reason: string): void {
    this.fault ??= { reasonCode, reason };
  }

  /** Replaces one byte in a private copy, where an old level tolerates what the decoder behind us does not. */
  patch(position: number, value: number): void {
    if (!this.owned) {
      this.frame = Buffer.from(this.frame);
      this.owned = true;
    }
    this.frame[position] = value;
  }

  byte(what: string): number {
    return this.take(1, what) ? this.frame[this.position - 1] : 0;
  }

  uint16(what: string): number {
    return this.take(2, what) ? readUint16(this.frame, this.position - 2) : 0;
  }

  /** [MQTT-2.2.1-3], in 3.1.1 [MQTT-2.3.1-1]: a packet identifier is not 0. */
  packetId(): number {
    const packetId = this.uint16('the packet identifier');
    if (this.ok && packetId === 0) this.fail(ReasonCode.PROTOCOL_ERROR, 'The packet identifier is 0');
    return packetId;
  }

  /** Steps over a UTF-8 encoded string and answers where its characters start; they end at `position`. */
  text(what: string): number {
    if (!this.ok) return this.position;
    const start = this.position + 2;
    const next = skipText(this.frame, this.position, this.frame.length);
    if (next < 0) {
      this.fail(ReasonCode.MALFORMED_PACKET, `Cannot read ${what}: it is cut short or not well-formed UTF-8`);
      return this.position;
    }
    this.position = next;
    return start;
  }

  /** Steps over binary data (1.5.6). */
  binary(what: string): void {
    const length = this.uint16(what);
    if (this.ok) this.take(length, what);
  }

  /** Checks a property length and the properties behind it, and answers the user properties among them. */
  properties(packetType: number): UserProperties {
    this.scan.reset();
    if (!this.ok) return [];
    const length = readVariableByteInteger(this.frame, this.position, this.frame.length);
    const start = this.position + remainingLengthSize(length);
    if (length < 0 || start + length > this.frame.length) {
      this.fail(ReasonCode.MALFORMED_PACKET, 'The property length does not match the packet');
      return [];
    }
    const code = scanProperties(this.frame, start, start + length, packetType, this.scan);
    if (code !== 0) {
      this.fail(code, 'The properties are malformed or forbidden in this packet');
      return [];
    }
    this.position = start + length;
    return this.scan.userPropertyCount === 0 ? [] : userProperties(this.frame, start, this.position);
  }

  /** Nothing may follow the last field. */
  finish(): void {
    if (this.ok && this.remaining > 0) this.fail(ReasonCode.MALFORMED_PACKET, 'Bytes follow the last field');
  }

  private take(length: number, what: string): boolean {
    if (!this.ok) return false;
    if (this.remaining < length) {
      this.fail(ReasonCode.MALFORMED_PACKET, `Cannot read ${what}: it is cut short`);
      return false;
    }
    this.position += length;
    return true;
  }
}

/** `mqtt-packet` groups pairs by name and loses their order [MQTT-3.3.2-18], so they are read from the bytes. */
function userProperties(frame: Buffer, start: number, end: number): UserProperties {
  const pairs: [string, string][] = [];
  for (let position = start; position < end; position = nextProperty(frame, position, end)) {
    if (frame[position] !== PropertyId.USER_PROPERTY) continue;
    const name = position + 3;
    const value = name + readUint16(frame, position + 1) + 2;
    const valueEnd = value + readUint16(frame, value - 2);
    pairs.push([frame.toString('utf8', name, value - 2), frame.toString('utf8', value, valueEnd)]);
  }
  return pairs;
}
