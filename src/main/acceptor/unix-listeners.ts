/**
 * Unix sockets: each is listened on by one worker, since Node cannot move their connections between threads. When that
 * worker dies, another one takes the file over. Main thread, owned by the listeners of the broker.
 */
import type { UnixSocketFile } from '../../net/unix/unix-socket.ts';
import type { Logger } from '../../observability/log.ts';
import type { ErrorCode } from '../../std/error-codes.ts';
import { BrokerError } from '../../std/errors.ts';
import type { AcceptorListener, ListenerAddress } from './acceptor.ts';

/** A worker that lives and does not answer is a defect; nobody waits longer for it. */
const ANSWER_LIMIT_MS = 10_000;
/** Before another try, when nobody could take a file over. */
const RETRY_MS = 1_000;

/** What came of it: null, or why not. */
export type UnixOutcome = { readonly code: ErrorCode; readonly message: string } | null;

export interface UnixListenersOptions {
  readonly listeners: readonly AcceptorListener[];
  liveWorkers(): readonly number[];
  /** Asks a worker to listen; it answers through `answered`. */
  ask(worker: number, listener: number, file: UnixSocketFile, backlog: number): void;
  readonly log: Logger;
}

interface Place {
  readonly listener: AcceptorListener;
  readonly file: UnixSocketFile;
  /** -1: nobody. */
  worker: number;
  settle: ((outcome: UnixOutcome) => void) | null;
}

export class UnixListeners {
  private readonly options: UnixListenersOptions;
  private readonly places = new Map<number, Place>();
  private retry: NodeJS.Timeout | null = null;
  private isClosed = false;

  constructor(options: UnixListenersOptions) {
    this.options = options;
    for (const listener of options.listeners) {
      if (listener.unix == null) continue;
      this.places.set(listener.index, { listener, file: listener.unix, worker: -1, settle: null });
    }
  }

  /** Rejects with what kept a worker from listening. */
  async listen(): Promise<ListenerAddress[]> {
    const addresses: ListenerAddress[] = [];
    for (const place of this.places.values()) {
      const outcome = await this.open(place);
      if (outcome !== null) {
        const canRetry = outcome.code === 'LISTENER_ADDRESS_IN_USE';
        throw new BrokerError(outcome.code, outcome.message, { canRetry });
      }
      const { name, protocol, transport = 'unix' } = place.listener;
      addresses.push({ name, protocol, transport, host: '', port: 0, path: place.file.path });
    }
    return addresses;
  }

  answered(listener: number, outcome: UnixOutcome): void {
    this.places.get(listener)?.settle?.(outcome);
  }

  workerGone(worker: number): void {
    for (const place of this.places.values()) {
      if (place.worker !== worker) continue;
      place.worker = -1;
      place.settle?.({ code: 'LISTENER_FAILED', message: 'the worker died' });
      if (place.settle === null) void this.takeOver(place);
    }
  }

  close(): void {
    this.isClosed = true;
    if (this.retry !== null) clearTimeout(this.retry);
  }

  private async open(place: Place): Promise<UnixOutcome> {
    const workers = this.options.liveWorkers();
    if (workers.length === 0) return { code: 'LISTENER_FAILED', message: 'no worker serves' };
    const { index, backlog } = place.listener;
    place.worker = workers[index % workers.length];
    const answer = new Promise<UnixOutcome>((resolve) => {
      const limit = setTimeout(() => resolve({ code: 'LISTENER_FAILED', message: 'no answer' }), ANSWER_LIMIT_MS);
      place.settle = (outcome) => {
        clearTimeout(limit);
        resolve(outcome);
      };
    });
    this.options.ask(place.worker, index, place.file, backlog);
    const outcome = await answer;
    place.settle = null;
    if (outcome !== null) place.worker = -1;
    return outcome;
  }

  private async takeOver(place: Place): Promise<void> {
    const { name } = place.listener;
    const outcome = this.isClosed ? null : await this.open(place);
    if (outcome === null || this.isClosed) return;
    this.options.log.warn('Unix socket is not listened on for now', { listener: name, reason: outcome.message });
    this.retry = setTimeout(() => {
      for (const each of this.places.values()) if (each.worker === -1) void this.takeOver(each);
    }, RETRY_MS);
    this.retry.unref();
  }
}
