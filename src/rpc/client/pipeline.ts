/**
 * Calls on keys over one stream per server: all calls made in one turn of the event loop leave in one message, answers
 * come back batched the same way. Any thread; used by `PlacementClient`.
 *
 * A call lives until it is answered or its deadline passes, whatever streams come and go meanwhile; one coarse sweep looks
 * after all deadlines. Calls that may run twice (reads, and writes with a request id) move on to another stream when
 * theirs breaks.
 */
import type { PipelineAnswer, PipelineCall, PipelineResponse } from '../generated/ringmq/placement/v1/kv.ts';
import { rpcStatus } from '../status.ts';
import { backOffMs } from './back-off.ts';
import { CallStream, type CallStreamEvents } from './call-stream.ts';
import { checkCall } from './check-call.ts';
import type { Endpoints } from './endpoints.ts';
import { canTryAgain, closedError, fromCallError, PlacementCallError, timedOut } from './errors.ts';
import type { ClientTls } from './server-security.ts';

type Request = NonNullable<PipelineCall['call']>;
type Answer = NonNullable<PipelineAnswer['answer']>;
type Case = Request['$case'];
type RequestOf<C extends Case> = Extract<Request, { readonly $case: C }>['value'];
type AnswerOf<C extends Case> = Extract<Answer, { readonly $case: C }>['value'];

/** Deadlines are kept to within this time. */
const sweepMs = 20;
/** Messages are of about this size; one large call may exceed it alone. */
const messageBytesMax = 512 * 1024;
const messageCallsMax = 5000;
/** A stream that has not heard from its server for this long after it was opened is given up for another server. */
const openMs = 1500;

/** One call, in the shape of its message. */
class Call implements PipelineCall {
  readonly number: number;
  readonly call: Request;
  /** About how long it is when encoded. */
  readonly size: number;
  readonly isHarmless: boolean;
  readonly limitMs: number;
  readonly deadlineMs: number;
  readonly resolve: (value: Answer['value']) => void;
  readonly reject: (error: PlacementCallError) => void;
  timeoutMs: number;
  attempts = 0;
  isOver = false;
  lastError: PlacementCallError | null = null;
  stream: Stream | null = null;

  constructor(
    number: number,
    call: Request,
    isHarmless: boolean,
    limitMs: number,
    nowMs: number,
    resolve: (value: Answer['value']) => void,
    reject: (error: PlacementCallError) => void,
  ) {
    this.number = number;
    this.call = call;
    this.size = checkCall(call);
    this.isHarmless = isHarmless;
    this.limitMs = limitMs;
    this.timeoutMs = Math.ceil(limitMs);
    this.deadlineMs = nowMs + limitMs;
    this.resolve = resolve;
    this.reject = reject;
  }
}

export interface PipelineOptions {
  /** Calls without an answer; more are refused with `OVERLOADED`. */
  readonly callsMax: number;
  /** Go to the leader when it is known: a hop less for writes and linearizable reads. */
  readonly followLeader: boolean;
}

export class Pipeline {
  private readonly tls: ClientTls | null;
  private readonly endpoints: Endpoints;
  private readonly options: PipelineOptions;
  /** All calls without an answer, in the order in which they were made. */
  private readonly live = new Map<number, Call>();
  private queue: Call[] = [];
  private lastNumber = 0;
  private isFlushDue = false;
  private isClosed = false;
  private stream: Stream | null = null;
  private candidate: Stream | null = null;
  private readonly streams = new Set<Stream>();
  private sweeper: NodeJS.Timeout | null = null;
  private hasExpired = false;
  /** Calls that wait for their pause, and the timer of it. */
  private paused: Call[] = [];
  private pause: NodeJS.Timeout | null = null;

  constructor(tls: ClientTls | null, endpoints: Endpoints, options: PipelineOptions) {
    this.tls = tls;
    this.endpoints = endpoints;
    this.options = options;
  }

  send<C extends Case>(name: C, value: RequestOf<C>, timeoutMs: number, isHarmless: boolean): Promise<AnswerOf<C>> {
    return new Promise((resolve, reject) => {
      if (this.isClosed) throw closedError();
      if (!(timeoutMs > 0)) throw new TypeError(`Cannot call with a time limit of ${timeoutMs} ms`);
      if (this.live.size >= this.options.callsMax) {
        const message = `Cannot call: ${this.live.size} calls wait for their answers`;
        throw new PlacementCallError('OVERLOADED', rpcStatus.RESOURCE_EXHAUSTED, message);
      }
      const request = { $case: name, value } as unknown as Request;
      const number = ++this.lastNumber;
      const done = resolve as (answer: Answer['value']) => void;
      const call = new Call(number, request, isHarmless, timeoutMs, performance.now(), done, reject);
      this.live.set(number, call);
      this.enqueue(call);
      this.sweeper ??= setInterval(() => this.sweep(), sweepMs);
    });
  }

  /** Ends everything; calls without an answer are rejected with `CLOSED`. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const stream of this.streams) stream.cancel();
    this.streams.clear();
    for (const call of this.live.values()) call.reject(closedError());
    this.live.clear();
    this.queue = [];
    this.paused = [];
    if (this.sweeper !== null) clearInterval(this.sweeper);
    if (this.pause !== null) clearTimeout(this.pause);
  }

  private enqueue(call: Call): void {
    this.queue.push(call);
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    process.nextTick(() => this.flush());
  }

  private flush(): void {
    this.isFlushDue = false;
    if (this.isClosed || this.queue.length === 0) return;
    this.stream ??= this.open(this.endpoints.current());
    if (this.stream.isCongested) return; // Its drain comes back here with all that was queued until then.
    const calls = this.hasExpired ? this.queue.filter(({ isOver }) => !isOver) : this.queue;
    this.hasExpired = false;
    this.queue = [];
    if (calls.length > 0) this.stream.write(calls);
  }

  private open(address: string): Stream {
    const stream: Stream = new Stream(address, this.tls, {
      onResponse: (response) => this.take(stream, response),
      onDrain: () => this.flush(),
      onEnd: (error) => this.lose(stream, error),
    });
    this.streams.add(stream);
    return stream;
  }

  private take(stream: Stream, { answers, leaderAddress, isLeaving }: PipelineResponse): void {
    stream.hasOpened = true;
    for (const { number, answer } of answers) {
      const call = this.live.get(number);
      // Late: the call has timed out meanwhile.
      if (call === undefined || answer === undefined || call.stream !== stream) continue;
      stream.callCount--;
      call.stream = null;
      if (answer.$case === 'error') {
        this.fail(call, fromCallError(answer.value), stream);
      } else {
        this.live.delete(number);
        call.resolve(answer.value);
      }
    }
    if (stream === this.candidate) this.adopt(stream);
    if (isLeaving) this.detach(stream);
    if (leaderAddress !== undefined) this.follow(stream, leaderAddress);
    if (stream !== this.stream && stream !== this.candidate) stream.endWhenIdle();
  }

  /** The leader is elsewhere: tries it, and goes on here until it has answered. */
  private follow(stream: Stream, address: string): void {
    const isHere = address === '' || address === stream.address || stream !== this.stream;
    if (isHere || !this.options.followLeader || this.candidate?.address === address) return;
    if (!this.endpoints.prefer(address)) return;
    this.dropCandidate();
    this.candidate = this.open(address);
    this.sweeper ??= setInterval(() => this.sweep(), sweepMs);
  }

  private adopt(stream: Stream): void {
    const old = this.stream;
    this.candidate = null;
    this.stream = stream;
    old?.endWhenIdle();
    this.flush();
  }

  private dropCandidate(): void {
    const { candidate } = this;
    if (candidate === null) return;
    this.candidate = null;
    this.streams.delete(candidate);
    candidate.cancel();
  }

  /** No new calls on this stream; those that are on it finish. */
  private detach(stream: Stream): void {
    this.endpoints.avoid(stream.address);
    if (this.stream === stream) this.stream = null;
    if (this.queue.length > 0) this.flush();
  }

  private lose(stream: Stream, error: PlacementCallError): void {
    if (!this.streams.delete(stream)) return;
    if (this.candidate === stream) this.candidate = null;
    if (this.stream === stream) this.stream = null;
    if (!stream.isEnding) this.endpoints.avoid(stream.address);
    // What waited for room on it goes elsewhere.
    if (this.queue.length > 0) this.flush();
    if (stream.callCount === 0) return;
    for (const call of this.live.values()) {
      if (call.stream !== stream) continue;
      call.stream = null;
      this.fail(call, error, stream);
    }
  }

  /** Tries again where that is allowed and there is time; otherwise the caller gets the error. */
  private fail(call: Call, error: PlacementCallError, stream: Stream): void {
    if (!canTryAgain(error, call.isHarmless)) {
      this.live.delete(call.number);
      call.reject(error);
      return;
    }
    call.attempts++;
    call.lastError = error;
    this.leaveFor(stream, error);
    this.paused.push(call);
    // One pause for all that failed together: the first one's.
    this.pause ??= setTimeout(() => this.goOn(), backOffMs(call.attempts));
  }

  /** Next tries go to the leader that the error names, or to the next server. */
  private leaveFor(stream: Stream, { code, leaderAddress }: PlacementCallError): void {
    if (code === 'OVERLOADED' || this.stream !== stream) return;
    if (leaderAddress !== stream.address && !this.endpoints.prefer(leaderAddress)) this.endpoints.avoid(stream.address);
    if (this.endpoints.current() === stream.address) return;
    this.stream = null;
    stream.endWhenIdle();
  }

  private goOn(): void {
    this.pause = null;
    const calls = this.paused;
    this.paused = [];
    const nowMs = performance.now();
    for (const call of calls) {
      if (!this.live.has(call.number)) continue;
      call.timeoutMs = Math.max(1, Math.ceil(call.deadlineMs - nowMs));
      this.enqueue(call);
    }
  }

  /** Streams that do not come up: the server is gone or stands still, and another may be well. */
  private giveUpSilent(nowMs: number): void {
    for (const stream of this.streams) {
      if (stream.hasOpened || nowMs - stream.openedMs < openMs) continue;
      if (stream !== this.candidate && this.endpoints.count === 1) continue;
      const message = `Cannot reach "${stream.address}": it says nothing`;
      this.lose(stream, new PlacementCallError('UNAVAILABLE', rpcStatus.UNAVAILABLE, message));
      stream.cancel();
    }
  }

  /** Ends calls whose time is up, and itself when there is nothing to look after. */
  private sweep(): void {
    const nowMs = performance.now();
    this.giveUpSilent(nowMs);
    for (const stream of this.streams) stream.check(nowMs);
    for (const call of this.live.values()) {
      if (call.deadlineMs > nowMs) continue;
      this.live.delete(call.number);
      call.isOver = true;
      this.hasExpired = true;
      if (call.stream !== null) call.stream.callCount--;
      call.reject(timedOut(call.limitMs, call.lastError));
    }
    if (this.live.size > 0 || this.candidate !== null || this.sweeper === null) return;
    clearInterval(this.sweeper);
    this.sweeper = null;
    this.queue = [];
  }
}

/** One pipeline stream to one server. */
class Stream {
  readonly address: string;
  /** Calls that were sent on it and wait for an answer. */
  callCount = 0;
  isCongested = false;
  /** The server has said something. */
  hasOpened = false;
  /** Ended by this side. */
  isEnding = false;
  readonly openedMs = performance.now();
  private readonly connection: CallStream;

  constructor(address: string, tls: ClientTls | null, { onResponse, onDrain, onEnd }: CallStreamEvents) {
    this.address = address;
    this.connection = new CallStream(address, tls, {
      onResponse,
      onDrain: () => {
        this.isCongested = false;
        onDrain();
      },
      onEnd,
    });
  }

  write(calls: readonly Call[]): void {
    this.callCount += calls.length;
    let start = 0;
    let bytes = 0;
    for (let i = 0; i < calls.length; i++) {
      calls[i].stream = this;
      const { size } = calls[i];
      if (i > start && (bytes + size > messageBytesMax || i - start === messageCallsMax)) {
        this.writeMessage(calls.slice(start, i));
        start = i;
        bytes = 0;
      }
      bytes += size;
    }
    this.writeMessage(start === 0 ? calls : calls.slice(start));
  }

  /** Looks whether the server still lives, when somebody waits for it. */
  check(nowMs: number): void {
    if (this.callCount > 0) this.connection.check(nowMs);
  }

  /** Closes once the last call was answered. */
  endWhenIdle(): void {
    if (this.callCount > 0 || this.isEnding) return;
    this.isEnding = true;
    this.connection.end();
  }

  cancel(): void {
    this.connection.cancel();
  }

  private writeMessage(calls: readonly Call[]): void {
    if (!this.connection.write({ calls })) this.isCongested = true;
  }
}
