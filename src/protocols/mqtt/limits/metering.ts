/**
 * Publications of clients whose rate is limited: as many as may come now go on as usual, and for the rest the client is not
 * read, so that it is slowed down by its own socket and nothing is lost. Other clients do not get here. Thread: the
 * connection's worker.
 *
 * Cost of a run: one look at the clock and at each rate; where few messages are left, the lengths of their frames.
 */
import type { PublishMeter } from '../../../core/limits/publish-meter.ts';
import { frameLength, PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { ClientState } from '../handlers/client-state.ts';
import type { Publishing } from '../handlers/publishing.ts';

/** With as many left, a run is never too long; see `runCountMax` of `publishing.ts`. */
const manyMessages = 4_096;

/** As `Publishing.onPublish`: answers the offset of the next frame, or `position` when this one has to wait. */
export function publishMetered(
  client: ClientState,
  meter: PublishMeter,
  publishing: Publishing,
  buffer: Buffer,
  position: number,
  frameEnd: number,
  end: number,
): number {
  const nowMs = performance.now();
  const countMax = meter.countMax(nowMs);
  if (countMax === 0) {
    hold(client, meter, nowMs);
    return position;
  }
  const { block, received } = client.host.metrics;
  const slot = received[PacketType.PUBLISH] as number;
  const before = block.get(slot);
  const limit = countMax >= manyMessages ? end : endOfFrames(buffer, frameEnd, end, countMax - 1);
  const next = publishing.onPublish(client, buffer, position, frameEnd, limit);
  const messages = block.get(slot) - before;
  if (messages > 0) meter.spend(messages, next - position, nowMs);
  return next;
}

/** Where `count` frames from `start` on end, or what is whole of them. */
function endOfFrames(buffer: Buffer, start: number, end: number, count: number): number {
  let at = start;
  for (let left = count; left > 0; left--) {
    const length = frameLength(buffer, at, end);
    if (length <= 0 || at + length > end) break;
    at += length;
  }
  return at;
}

/** Nothing more is read until there is something to spend again. */
function hold(client: ClientState, meter: PublishMeter, nowMs: number): void {
  const { connection, host } = client;
  const { ms, limit } = meter.wait(nowMs);
  connection.pauseReading();
  if (client.isMetered) return; // Somebody else had it read again; the timer still runs.
  host.limits.exceeded(limit);
  if (host.limits.publishExceeded === 'disconnect') {
    client.end(ReasonCode.MESSAGE_RATE_TOO_HIGH, 'limit');
    return;
  }
  client.isMetered = true;
  const timer = setTimeout(() => {
    client.isMetered = false;
    connection.resumeReading();
  }, ms);
  timer.unref();
}
