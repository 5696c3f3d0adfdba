/**
 * The pipeline: many numbered calls on one stream. What becomes ready within one turn of the event loop leaves in one
 * message, so a message costs about as much as a call would alone. Thread: the Raft worker. Streams come from gRPC
 * (`kv-service.ts`) and from connections of their own (`call-streams.ts`).
 *
 * Memory: at most `pipelineCallsMax` calls wait for the node, plus those of the message that crossed the line, which
 * `receiveBytesMax` bounds. A client that does not read its answers is read no further itself.
 */
import type {
  PipelineAnswer,
  PipelineCall,
  PipelineRequest,
  PipelineResponse,
} from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import type { ApiContext } from './context.ts';
import { leaderAddressOf } from './convert.ts';
import { invalidField, toCallError, toFailure } from './failure.ts';
import * as calls from './kv-calls.ts';

/** Where calls come from and answers go to. */
export interface PipelineChannel {
  /** False: the client reads too slowly; `onDrain` follows. */
  write(response: PipelineResponse): boolean;
  /** Nothing was ended or cut yet. */
  readonly isWritable: boolean;
  /** Nothing more is written. */
  end(): void;
  pause(): void;
  resume(): void;
}

type Answer = NonNullable<PipelineAnswer['answer']>;

/** The leader's address is looked at this often, for all pipelines together. */
const leaderCheckMs = 250;

/** All pipelines of a server; tells them when the leader moves and when the server leaves. */
export class PipelineHub {
  private readonly context: ApiContext;
  private readonly pipelines = new Set<Pipeline>();
  private leaderAddress = '';
  private timer: NodeJS.Timeout | null = null;

  constructor(context: ApiContext) {
    this.context = context;
  }

  /** Announces the leader on `channel`. Who called gives what comes of it to the pipeline. */
  open(channel: PipelineChannel): Pipeline {
    if (this.timer === null) {
      this.leaderAddress = leaderAddressOf(this.context.node.status());
      this.timer = setInterval(() => this.checkLeader(), leaderCheckMs);
      this.timer.unref();
    }
    const pipeline: Pipeline = new Pipeline(this.context, channel, () => this.remove(pipeline));
    this.pipelines.add(pipeline);
    pipeline.announce(this.leaderAddress);
    return pipeline;
  }

  leave(): void {
    for (const pipeline of [...this.pipelines]) pipeline.leave();
  }

  private checkLeader(): void {
    const address = leaderAddressOf(this.context.node.status());
    if (address === this.leaderAddress) return;
    this.leaderAddress = address;
    for (const pipeline of this.pipelines) pipeline.announce(address);
  }

  private remove(pipeline: Pipeline): void {
    this.pipelines.delete(pipeline);
    if (this.pipelines.size > 0 || this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
  }
}

export class Pipeline {
  private readonly context: ApiContext;
  private readonly channel: PipelineChannel;
  private readonly onOver: () => void;
  private answers: PipelineAnswer[] = [];
  private inProgress = 0;
  private isFlushDue = false;
  private isPaused = false;
  private isCongested = false;
  private isOver = false;
  /** No more requests come, or none are wanted: ends after the last answer. */
  private isEnding = false;

  constructor(context: ApiContext, channel: PipelineChannel, onOver: () => void) {
    this.context = context;
    this.channel = channel;
    this.onOver = onOver;
  }

  announce(leaderAddress: string): void {
    this.write({ answers: [], leaderAddress, isLeaving: false });
  }

  leave(): void {
    this.write({ answers: [], leaderAddress: undefined, isLeaving: true });
    this.end();
  }

  take({ calls: taken }: PipelineRequest): void {
    const { callTimeoutMsMax } = this.context.limits;
    for (const call of taken) {
      this.inProgress++;
      const timeoutMs = call.timeoutMs === 0 ? callTimeoutMsMax : Math.min(call.timeoutMs, callTimeoutMsMax);
      this.run(call, timeoutMs);
    }
    this.balance();
  }

  /** The client reads again. */
  drain(): void {
    this.isCongested = false;
    this.balance();
  }

  /** No more requests come, or none are wanted: ends after the last answer. */
  end(): void {
    this.isEnding = true;
    if (this.inProgress > 0 || this.answers.length > 0 || this.isOver || !this.channel.isWritable) return;
    this.channel.end();
  }

  /** The stream is gone. */
  over(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.answers = [];
    this.onOver();
  }

  private run({ number, call }: PipelineCall, timeoutMs: number): void {
    answerTo(this.context, call, timeoutMs).then(
      (answer) => this.answer(number, answer),
      (error) => {
        const failure = toFailure(error, this.context.onDefect);
        this.answer(number, { $case: 'error', value: toCallError(failure) });
      },
    );
  }

  private answer(number: number, answer: Answer): void {
    this.inProgress--;
    if (this.isOver) return;
    this.answers.push({ number, answer });
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    // Runs when all promises that are settled now had their say, before the event loop turns.
    process.nextTick(() => this.flush());
  }

  private flush(): void {
    this.isFlushDue = false;
    const { answers } = this;
    if (this.isOver || answers.length === 0) return;
    this.answers = [];
    const { answerBytesMax } = this.context.limits;
    let start = 0;
    let bytes = 0;
    for (let i = 0; i < answers.length; i++) {
      const size = sizeOf(answers[i].answer as Answer);
      if (bytes > 0 && bytes + size > answerBytesMax) {
        this.write({ answers: answers.slice(start, i), leaderAddress: undefined, isLeaving: false });
        start = i;
        bytes = 0;
      }
      bytes += size;
    }
    const rest = start === 0 ? answers : answers.slice(start);
    this.write({ answers: rest, leaderAddress: undefined, isLeaving: false });
    this.balance();
    if (this.isEnding) this.end();
  }

  private write(response: PipelineResponse): void {
    if (this.isOver || !this.channel.isWritable) return;
    if (!this.channel.write(response)) this.isCongested = true;
  }

  /** Reads on, or not, by what waits. */
  private balance(): void {
    const { pipelineCallsMax } = this.context.limits;
    const isFull = this.isCongested || this.inProgress >= pipelineCallsMax;
    if (isFull === this.isPaused || this.isOver) return;
    this.isPaused = isFull;
    if (isFull) this.channel.pause();
    else this.channel.resume();
  }
}

/** Runs one call; rejects with what went wrong. */
async function answerTo({ node }: ApiContext, call: PipelineCall['call'], timeoutMs: number): Promise<Answer> {
  switch (call?.$case) {
    case 'set':
      return { $case: 'set', value: await calls.set(node, call.value, timeoutMs) };
    case 'get':
      return { $case: 'get', value: await calls.get(node, call.value, timeoutMs) };
    case 'delete':
      return { $case: 'delete', value: await calls.delete(node, call.value, timeoutMs) };
    case 'exists':
      return { $case: 'exists', value: await calls.exists(node, call.value, timeoutMs) };
    case 'range':
      return { $case: 'range', value: await calls.range(node, call.value, timeoutMs) };
    case 'transaction':
      return { $case: 'transaction', value: await calls.transaction(node, call.value, timeoutMs) };
    case 'compareAndSet':
      return { $case: 'compareAndSet', value: await calls.compareAndSet(node, call.value, timeoutMs) };
    case 'compact':
      return { $case: 'compact', value: await calls.compact(node, call.value, timeoutMs) };
    default:
      throw invalidField('call', 'it is missing or unknown');
  }
}

type Pair = { readonly key: Uint8Array; readonly value: Uint8Array } | undefined;

const smallBytes = 64;

function pairBytes(pair: Pair): number {
  return pair === undefined ? 0 : pair.key.length + pair.value.length + smallBytes;
}

function pairsBytes(pairs: readonly Pair[]): number {
  return pairs.reduce((sum, pair) => sum + pairBytes(pair), smallBytes);
}

/** About how long the answer is when encoded. */
function sizeOf(answer: Answer): number {
  switch (answer.$case) {
    case 'set':
      return smallBytes + pairBytes(answer.value.previous);
    case 'get':
      return smallBytes + pairBytes(answer.value.item);
    case 'compareAndSet':
      return smallBytes + pairBytes(answer.value.current);
    case 'delete':
      return pairsBytes(answer.value.previous);
    case 'range':
      return pairsBytes(answer.value.items);
    case 'transaction':
      return answer.value.results.reduce((sum, { result }) => {
        if (result?.$case === 'range') return sum + pairsBytes(result.value.items);
        if (result?.$case === 'delete') return sum + pairsBytes(result.value.previous);
        return sum + smallBytes + pairBytes(result?.value.previous);
      }, smallBytes);
    default:
      return smallBytes * 4;
  }
}
