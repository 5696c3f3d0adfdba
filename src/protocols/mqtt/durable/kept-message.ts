/**
 * A publication as the message logs keep it: topic, body, and a header of this protocol's own.
 *
 *   header   flags (1 byte: 1 the retain flag as published), then the properties that are for the receiver, encoded, without their length
 *
 * An empty header is one without flags and properties. Thread: connection workers.
 */
import type { Run } from '../../../core/broker/run.ts';
import type { Grade, MessageRun, MessageView, NewMessage } from '../../../core/sessions/message-record.ts';
import { tenantPrefixBytes } from '../../../core/tenants/tenant-names.ts';
import { frameLength, headerLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { copyKept } from '../codec/publish-rewrite.ts';

const retainFlag = 1;
const noHeader: Buffer = Buffer.alloc(0);
const retainedHeader = Buffer.from([retainFlag]);
const view = new PublishView();
/** One for all runs. */
const messages = {
  topicBytes: noHeader,
  header: noHeader,
  grade: 1 as Grade,
  expiresAtMs: 0,
  publisher: '',
  source: noHeader,
  count: 0,
  places: new Int32Array(128),
};

/**
 * The publications of a run with QoS 1 or 2, in order. The bodies stay where they are, in the bytes of the run, and the answer holds until
 * the next call. `publisher`: name of the session, or ''.
 */
export function readRun(run: Run, publisher: string, nowMs: number): MessageRun {
  const { buffer, start, end } = run;
  decodePublish(buffer, start, start + frameLength(buffer, start, end), run.layout, view);
  messages.topicBytes = run.topicBytes;
  messages.header = headerOf(buffer);
  messages.grade = view.qos === 2 ? 2 : 1;
  messages.expiresAtMs = view.expiryS < 0 ? 0 : nowMs + view.expiryS * 1000;
  messages.publisher = publisher;
  messages.source = buffer;
  messages.count = run.count;
  if (messages.places.length < 2 * run.count) messages.places = new Int32Array(4 * run.count);
  const { places } = messages;
  // Between the fixed header and the body all frames of a run have the same but for the packet identifier.
  const prefixLength = view.payloadStart - start - headerLength(buffer, start);
  let position = start;
  for (let at = 0; at < 2 * run.count; at += 2) {
    places[at] = position + headerLength(buffer, position) + prefixLength;
    position += frameLength(buffer, position, end);
    places[at + 1] = position;
  }
  return messages;
}

/** The same as single messages, in bytes of their own. */
export function keptMessages(run: Run, publisher: string, nowMs: number, visit: (message: NewMessage) => void): void {
  const { topicBytes, header, grade, expiresAtMs, source, places, count } = readRun(run, publisher, nowMs);
  const head = { topicBytes, header, grade, expiresAtMs, publisher };
  const bodies = Array.from({ length: count }, (_, at) =>
    Buffer.from(source.subarray(places[2 * at], places[2 * at + 1])),
  );
  for (const body of bodies) visit({ ...head, body });
}

function headerOf(bytes: Buffer): Buffer {
  if (view.keptPropertiesLength === 0) return view.retain === 1 ? retainedHeader : noHeader;
  const header = Buffer.allocUnsafe(1 + view.keptPropertiesLength);
  header[0] = view.retain === 1 ? retainFlag : 0;
  copyKept(header, 1, bytes, view);
  return header;
}

/** Describes a kept message as if it were a frame in the bytes of its record: with the topic as clients of its tenant know it. */
export function viewKept(message: MessageView, target: PublishView): void {
  const { topicStart, topicLength } = message;
  const prefix = tenantPrefixBytes(message.bytes, topicStart, topicLength);
  target.topicStart = topicStart + prefix;
  target.topicLength = topicLength - prefix;
  target.payloadStart = message.bodyStart;
  target.payloadLength = message.bodyLength;
  const length = Math.max(0, message.headerLength - 1);
  target.propertiesStart = message.headerStart + 1;
  target.propertiesLength = length;
  target.keptPropertiesLength = length;
}

/** Whether it was published with the retain flag. */
export function isKeptRetained(message: MessageView): boolean {
  return message.headerLength > 0 && (message.bytes[message.headerStart] & retainFlag) !== 0;
}
