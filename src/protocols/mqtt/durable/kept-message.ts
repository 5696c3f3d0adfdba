/**
 * A publication as the message logs keep it: topic, body, and a header of this protocol's own.
 *
 *   header   flags (1 byte: 1 the retain flag as published), then the properties that are for the receiver, encoded, without their length
 *
 * An empty header is one without flags and properties. Whole publications are copied once for each run. Thread: connection workers.
 */
import type { Run } from '../../../core/broker/run.ts';
import type { MessageView, NewMessage } from '../../../core/sessions/message-record.ts';
import { frameLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { copyKept } from '../codec/publish-rewrite.ts';

const retainFlag = 1;
const noHeader = Buffer.alloc(0);
const retainedHeader = Buffer.from([retainFlag]);
const view = new PublishView();

/** The publications of a run with QoS 1 or 2, in order, in bytes of their own. `publisher`: name of the session, or ''. */
export function keptMessages(run: Run, publisher: string, nowMs: number, visit: (message: NewMessage) => void): void {
  const { topicBytes } = run;
  const bytes = Buffer.allocUnsafe(run.end - run.start);
  run.buffer.copy(bytes, 0, run.start, run.end);
  for (let position = 0; position < bytes.length; ) {
    const next = position + frameLength(bytes, position, bytes.length);
    decodePublish(bytes, position, next, run.layout, view);
    visit({
      topicBytes,
      body: bytes.subarray(view.payloadStart, next),
      header: headerOf(bytes),
      grade: view.qos === 2 ? 2 : 1,
      expiresAtMs: view.expiryS < 0 ? 0 : nowMs + view.expiryS * 1000,
      publisher,
    });
    position = next;
  }
}

function headerOf(bytes: Buffer): Buffer {
  if (view.keptPropertiesLength === 0) return view.retain === 1 ? retainedHeader : noHeader;
  const header = Buffer.allocUnsafe(1 + view.keptPropertiesLength);
  header[0] = view.retain === 1 ? retainFlag : 0;
  copyKept(header, 1, bytes, view);
  return header;
}

/** Describes a kept message as if it were a frame in the bytes of its record. */
export function viewKept(message: MessageView, target: PublishView): void {
  target.topicStart = message.topicStart;
  target.topicLength = message.topicLength;
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
