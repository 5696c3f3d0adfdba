/**
 * The calls of one thread to the services. While there is no host they wait, up to a bound in number and time. When the host is lost, a
 * call that can be made twice is made again at the next one; any other is answered with STORAGE_UNCERTAIN. Owned by the services
 * client of a thread.
 */
import { StorageError } from '../../../core/streams/storage-error.ts';
import type { ServiceCall } from '../messages.ts';
import { fromSentServiceError, type SentServiceError } from '../service-error.ts';

/** How often deadlines are looked at, while calls are under way. */
const lookMs = 250;

export interface CallOptions {
  /** Made twice it does no harm. Default false. */
  readonly canRepeat?: boolean;
  /** Beyond the usual time: what the call itself may wait. Default 0. */
  readonly waitMs?: number;
  /** Memory in the call that is moved. */
  readonly moved?: ArrayBuffer;
}

interface Call {
  readonly id: number;
  readonly call: ServiceCall;
  readonly options: CallOptions;
  readonly deadlineMs: number;
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export interface ServiceCallsOptions {
  readonly callsMax: number;
  readonly timeoutMs: number;
  send(id: number, call: ServiceCall, moved: ArrayBuffer | undefined): void;
  /** The number of calls without an answer has fallen. */
  eased(): void;
}

export class ServiceCalls {
  readonly #options: ServiceCallsOptions;
  readonly #waiting = new Map<number, Call>();
  readonly #sent = new Map<number, Call>();
  #idNext = 1;
  #isOpen = false;
  #refusal: StorageError | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: ServiceCallsOptions) {
    this.#options = options;
  }

  get unanswered(): number {
    return this.#waiting.size + this.#sent.size;
  }

  /** Rejects with an error of the services. `begun` is told the number of the call. */
  run(call: ServiceCall, options: CallOptions = {}, begun?: (id: number) => void): Promise<unknown> {
    if (this.#refusal !== null) return Promise.reject(this.#refusal);
    const { callsMax, timeoutMs } = this.#options;
    if (this.unanswered >= callsMax) {
      const message = `Cannot call "${call.call}": ${callsMax} calls of this thread wait for an answer`;
      return Promise.reject(new StorageError('STORAGE_UNAVAILABLE', message));
    }
    const id = this.#idNext;
    this.#idNext += 1;
    begun?.(id);
    const deadlineMs = performance.now() + timeoutMs + (options.waitMs ?? 0);
    return new Promise((resolve, reject) => {
      const made: Call = { id, call, options, deadlineMs, resolve, reject };
      if (this.#isOpen) this.#send(made);
      else this.#waiting.set(id, made);
      this.#arm();
    });
  }

  /** There is a host. */
  open(): void {
    this.#isOpen = true;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const call of waiting) this.#send(call);
  }

  /** The host is gone. */
  lose(): void {
    this.#isOpen = false;
    const lost = [...this.#sent.values()];
    this.#sent.clear();
    for (const call of lost) {
      if (call.options.canRepeat === true && this.#refusal === null) this.#waiting.set(call.id, call);
      else call.reject(uncertain(call, 'the thread that does it was lost'));
    }
    this.#options.eased();
  }

  isWaiting(id: number): boolean {
    return this.#waiting.has(id);
  }

  /** Gives up a call that was not sent. */
  withdraw(id: number, error: Error): void {
    const call = this.#waiting.get(id);
    this.#waiting.delete(id);
    call?.reject(error);
  }

  answered(id: number, result: unknown): void {
    this.#take(id)?.resolve(result);
  }

  failed(id: number, error: SentServiceError): void {
    this.#take(id)?.reject(fromSentServiceError(error));
  }

  /** Refuses everything from now on; what was sent is still answered. */
  close(error: StorageError): void {
    this.#refusal = error;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const call of waiting) call.reject(error);
    this.#options.eased();
  }

  #send(call: Call): void {
    this.#sent.set(call.id, call);
    this.#options.send(call.id, call.call, call.options.moved);
  }

  #take(id: number): Call | undefined {
    const call = this.#sent.get(id);
    if (!this.#sent.delete(id)) return undefined;
    this.#options.eased();
    return call;
  }

  /** Nobody waits for ever. */
  #arm(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const nowMs = performance.now();
      for (const call of this.#waiting.values()) {
        if (call.deadlineMs > nowMs) continue;
        this.#waiting.delete(call.id);
        call.reject(unavailable(call, 'there was no thread to do it in time'));
      }
      for (const call of this.#sent.values()) {
        if (call.deadlineMs > nowMs) continue;
        this.#sent.delete(call.id);
        const isHarmless = call.options.canRepeat === true;
        call.reject((isHarmless ? unavailable : uncertain)(call, 'there was no answer in time'));
      }
      this.#options.eased();
      if (this.unanswered > 0) this.#arm();
    }, lookMs).unref();
  }
}

function unavailable({ call }: Call, reason: string): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `Cannot call "${call.call}": ${reason}`);
}

function uncertain({ call }: Call, reason: string): StorageError {
  return new StorageError('STORAGE_UNCERTAIN', `Cannot say whether "${call.call}" was done: ${reason}`);
}
