/** Describes PUBLISH frames to the router, see the details of a run in `run-encoder.ts`. Connection workers. */
import type { Run } from '../../../core/broker/run.ts';
import { frameLength, headerLength } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';

const view = new PublishView();
let partSequence = 0;

/** Fills `run` with the one frame that `buffer` holds. The frame is a valid one. */
export function fillRunWithFrame(run: Run, buffer: Buffer, layout: 4 | 5): void {
  decodePublish(buffer, 0, buffer.length, layout, view);
  fillRunWithView(run, buffer, layout, view);
}

/** Fills `run` with the frame that `source` describes in `buffer`. */
export function fillRunWithView(run: Run, buffer: Buffer, layout: 4 | 5, source: PublishView): void {
  run.layout = layout;
  run.buffer = buffer;
  run.start = source.start;
  run.end = source.end;
  run.count = 1;
  // With DUP, which belongs to the publisher's connection [MQTT-3.3.1-3]: nobody gets such a frame verbatim.
  run.detailA = source.flags;
  run.detailB = source.end - source.start;
  run.detailC = source.topicStart + source.topicLength - source.start;
  run.detailD = source.expiryS >= 0 ? 1 : 0;
  run.publisher = null;
}

/** A sequence number for a run that no router numbers: a negative one, and each once. */
export function nextOwnSequence(): number {
  return --partSequence;
}

/** Walks through a run: `part` holds one publication after the other. */
export function splitRun(run: Run, part: Run, visit: () => void): void {
  Object.assign(part, run);
  part.count = 1;
  for (let position = run.start; position < run.end; ) {
    const next = position + frameLength(run.buffer, position, run.end);
    part.start = position;
    part.end = next;
    part.detailB = next - position;
    // Frames of different lengths can have headers of different lengths.
    part.detailC = packetIdOffset(run.buffer, position);
    // Each part is a run of its own for whoever keeps what was derived from one; negative numbers are no router's.
    part.sequence = nextOwnSequence();
    visit();
    position = next;
  }
}

/** Where the packet identifier is in the PUBLISH frame at `position`, counted from there: behind the topic. */
function packetIdOffset(buffer: Buffer, position: number): number {
  const header = headerLength(buffer, position);
  const at = position + header;
  return header + 2 + ((buffer[at] << 8) | buffer[at + 1]);
}
