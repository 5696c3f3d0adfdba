/**
 * A run in the encodings that its receivers need: each distinct layout is made once per run, not once per subscriber,
 * and the receivers that need what the publisher sent get those very bytes. One per worker.
 *
 * Details of a run of this protocol: A the flags of the frames' first byte; B the length of each frame, or 0 when they
 * differ; C the offset of the packet identifier in a frame when B is not 0; D 1 when the messages expire.
 */
import type { Run } from '../../../core/broker/run.ts';
import { ownedCopy } from '../../../std/owned-copy.ts';
import { frameLength, remainingLengthSize } from '../codec/frame.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { PublishRewrite, rewrite, rewrittenSize } from '../codec/publish-rewrite.ts';

/** Frames of one run in one encoding. Valid until the next run. */
export class Variant {
  sequence = 0;
  buffer: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  /** Length of each frame, or 0 when they differ. */
  frameBytes = 0;
  /** Length of the longest frame. */
  frameBytesMax = 0;
  /** Offset of the packet identifier in a frame, where `frameBytes` is not 0 and the QoS is not 0. */
  idOffset = 0;
  scratch: Buffer = Buffer.alloc(0);
}

const smallestScratch = 4_096;
/** Scratch above this is given back after use. */
const largestScratch = 262_144;

export class RunEncoder {
  readonly view = new PublishView();
  readonly options = new PublishRewrite();
  /** By layout (4 or 5), QoS and retain flag. */
  private readonly variants = Array.from({ length: 12 }, () => new Variant());
  private copy: Buffer | null = null;
  private copySequence = 0;

  /** The run as PUBLISH frames of `layout` with this QoS and retain flag; packet identifiers are to be filled in. */
  variant(run: Run, layout: 4 | 5, qos: number, retain: number): Variant {
    const variant = this.variants[(layout - 4) * 6 + qos * 2 + retain];
    if (variant.sequence === run.sequence) return variant;
    variant.sequence = run.sequence;
    if (run.layout === layout && run.detailA === ((qos << 1) | retain)) this.takeVerbatim(run, variant);
    else this.encode(run, layout, qos, retain, variant);
    return variant;
  }

  private takeVerbatim(run: Run, variant: Variant): void {
    variant.buffer = run.buffer;
    variant.start = run.start;
    variant.end = run.end;
    variant.frameBytes = run.detailB;
    variant.idOffset = run.detailC;
    variant.frameBytesMax = run.detailB > 0 ? run.detailB : longestFrame(run.buffer, run.start, run.end);
  }

  private encode(run: Run, layout: 4 | 5, qos: number, retain: number, variant: Variant): void {
    const { view, options } = this;
    options.level = layout;
    options.qos = qos;
    options.retain = retain;
    options.dup = 0;
    options.packetId = 1; // Filled in per receiver.
    options.topic = null;
    options.topicAlias = 0;
    options.emptyTopic = false;
    options.subscriptionIdentifiers = null;
    let position = run.start;
    let written = 0;
    let first = 0;
    let longest = 0;
    let uniform = true;
    variant.buffer = variant.scratch;
    while (position < run.end) {
      const next = position + frameLength(run.buffer, position, run.end);
      decodePublish(run.buffer, position, next, run.layout, view);
      options.expiryS = view.expiryS;
      const size = rewrittenSize(view, options);
      if (written + size > variant.buffer.length) growScratch(variant, written + size, written);
      rewrite(variant.buffer, written, run.buffer, view, options);
      written += size;
      if (first === 0) {
        first = size;
        // The identifier follows the topic: fixed header, two bytes of length, topic.
        variant.idOffset = size - remainderAfterTopic(view, options, layout);
      }
      if (size !== first) uniform = false;
      if (size > longest) longest = size;
      position = next;
    }
    variant.start = 0;
    variant.end = written;
    variant.frameBytes = uniform ? first : 0;
    variant.frameBytesMax = longest;
  }

  /** A copy of the run's own bytes that can be kept; made once per run. */
  keep(run: Run): Buffer {
    if (this.copySequence !== run.sequence || this.copy === null) {
      this.copySequence = run.sequence;
      this.copy = ownedCopy(run.buffer, run.start, run.end);
    }
    return this.copy;
  }

  /** Lets go of what the last run needed, so that one large message does not stay in memory. */
  trim(): void {
    this.copy = null;
    for (const variant of this.variants) {
      if (variant.scratch.length > largestScratch) variant.scratch = Buffer.alloc(0);
      variant.buffer = variant.scratch;
      variant.sequence = 0;
    }
  }
}

function longestFrame(buffer: Buffer, start: number, end: number): number {
  let longest = 0;
  for (let position = start; position < end; ) {
    const length = frameLength(buffer, position, end);
    if (length > longest) longest = length;
    position += length;
  }
  return longest;
}

function growScratch(variant: Variant, needed: number, used: number): void {
  const grown = Buffer.allocUnsafeSlow(Math.max(smallestScratch, needed * 2));
  variant.buffer.copy(grown, 0, 0, used);
  variant.scratch = grown;
  variant.buffer = grown;
}

/** Bytes of the rewritten frame from its packet identifier on. */
function remainderAfterTopic(view: PublishView, options: PublishRewrite, layout: number): number {
  const body = (options.qos > 0 ? 2 : 0) + view.payloadLength;
  if (layout < 5) return body;
  const properties = view.keptPropertiesLength + (options.expiryS >= 0 ? 5 : 0);
  return body + properties + remainingLengthSize(properties);
}
