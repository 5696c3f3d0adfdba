/**
 * Frames of the connections that are no gRPC: messages between replicas (`raft/transport/stream-frames.ts`) and calls of
 * clients (`call-frames.ts`). Any thread; pure.
 *
 * ```
 * frame := size:u32 kind:u8 body[size]        -- little-endian
 * ```
 */

export const frameHeaderBytes = 5;

/** Whoever sends this does not speak the protocol. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/** Called for every whole frame; false: no more of them. `body` is a view of memory that is not written again. */
export type TakeFrame = (kind: number, body: Buffer) => boolean;

/** What a connection begins with, which says what it carries. */
export interface Preface {
  readonly bytes: Buffer;
  /** All of it has come; before the first frame. */
  onRead?(): void;
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  /** Longer bodies are refused. May be changed between two frames. */
  bytesMax: number;
  private readonly take: TakeFrame;
  private readonly preface: Preface | null;
  private prefaceBytes = 0;
  /** A frame that did not come in one piece: all of it when its length is known, else what is there of the header. */
  private partial: Buffer | null = null;
  private partialBytes = 0;

  constructor(bytesMax: number, take: TakeFrame, preface: Preface | null = null) {
    this.bytesMax = bytesMax;
    this.take = take;
    this.preface = preface;
  }

  /** Throws `FrameError`; the stream is of no use then. */
  push(chunk: Buffer): void {
    let rest = this.skipPreface(chunk);
    while (this.partial !== null) {
      const { partial } = this;
      const count = Math.min(rest.length, partial.length - this.partialBytes);
      rest.copy(partial, this.partialBytes, 0, count);
      this.partialBytes += count;
      if (this.partialBytes < partial.length) return;
      rest = rest.subarray(count);
      const isHeader = partial.length === frameHeaderBytes;
      const size = this.sizeAt(partial, 0);
      this.partial = null;
      if (isHeader && size > 0) this.begin(size, partial);
      else if (!this.take(partial[4], partial.subarray(frameHeaderBytes))) return;
    }
    this.cut(rest);
  }

  private skipPreface(chunk: Buffer): Buffer {
    const { preface, prefaceBytes } = this;
    if (preface === null || prefaceBytes === preface.bytes.length) return chunk;
    const count = Math.min(chunk.length, preface.bytes.length - prefaceBytes);
    const wanted = preface.bytes.subarray(prefaceBytes, prefaceBytes + count);
    if (!chunk.subarray(0, count).equals(wanted)) throw new FrameError('Cannot read the stream: it begins otherwise');
    this.prefaceBytes += count;
    if (this.prefaceBytes === preface.bytes.length) preface.onRead?.();
    return chunk.subarray(count);
  }

  private cut(bytes: Buffer): void {
    let at = 0;
    while (bytes.length - at >= frameHeaderBytes) {
      const size = this.sizeAt(bytes, at);
      const start = at + frameHeaderBytes;
      if (bytes.length - start < size) {
        this.begin(size, bytes.subarray(at));
        return;
      }
      at = start + size;
      if (!this.take(bytes[start - 1], bytes.subarray(start, at))) return;
    }
    if (at < bytes.length) this.begin(0, bytes.subarray(at));
  }

  private begin(size: number, first: Buffer): void {
    this.partial = Buffer.allocUnsafe(frameHeaderBytes + size);
    this.partialBytes = first.copy(this.partial);
  }

  private sizeAt(bytes: Buffer, at: number): number {
    const size = bytes.readUInt32LE(at);
    if (size > this.bytesMax) throw new FrameError(`Cannot read a frame of ${size} bytes: ${this.bytesMax} are taken`);
    return size;
  }
}

export function encodeFrame(kind: number, body: Uint8Array): Buffer {
  const frame = frameOf(kind, body.length);
  frame.set(body, frameHeaderBytes);
  return frame;
}

/** A frame whose body is to be written behind `frameHeaderBytes`. */
export function frameOf(kind: number, size: number): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + size);
  frame.writeUInt32LE(size, 0);
  frame[4] = kind;
  return frame;
}
