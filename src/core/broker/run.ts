/**
 * A run: consecutive publications with the same route and the same encoding, routed and delivered as one.
 *
 * The bytes are frames as their publisher encoded them; `layout` says in which encoding, so that a subscriber that reads
 * the same one gets them verbatim. Everything else about a frame is its protocol's business and travels in the four
 * `details` words, across worker threads too. One `Run` object per worker is used again and again: nothing of it is kept
 * after `deliver` returns. Thread: the worker that routes it.
 */
const noBytes = Buffer.alloc(0);

export class Run {
  /** Encoding of the frames, a number that belongs to one protocol. */
  layout = 0;
  buffer: Buffer = noBytes;
  start = 0;
  end = 0;
  /** Publications in it, 1 or more. */
  count = 0;
  detailA = 0;
  detailB = 0;
  detailC = 0;
  detailD = 0;
  /** The publisher's session when it lives on this worker, for "no local"; null otherwise. */
  publisher: object | null = null;
  /** Routing epoch at which the workers that get it were computed; see `Router.epoch`. */
  epoch = 0;
  topic = '';
  /** The topic as its publisher encoded it; not to be changed. */
  topicBytes: Buffer = noBytes;
  /** Counts runs, so that a protocol can tell whether what it derived from the previous run still holds. */
  sequence = 0;
}

/** A copy with bytes of its own, for whoever has to keep a run. */
export function copyOf(run: Run): Run {
  const copy = Object.assign(new Run(), run);
  copy.buffer = Buffer.from(run.buffer.subarray(run.start, run.end));
  copy.start = 0;
  copy.end = copy.buffer.length;
  return copy;
}
