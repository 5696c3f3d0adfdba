/**
 * The memory into which the kernel copies what arrives on any connection of one worker: bytes are consumed before the
 * next read. The room in front takes the tail of the unfinished frame of the connection that is read next, so that a
 * frame is always contiguous. Thread: one worker.
 */
export class ReadArea {
  readonly buffer: Buffer;
  /** Offset at which reads begin; a tail of up to this many bytes fits in front. */
  readonly headroom: number;
  /** The part that is given to the kernel. */
  readonly target: Buffer;

  constructor(headroomBytes: number, readBytes: number) {
    this.headroom = headroomBytes;
    this.buffer = Buffer.allocUnsafeSlow(headroomBytes + readBytes);
    this.target = this.buffer.subarray(headroomBytes);
  }
}
