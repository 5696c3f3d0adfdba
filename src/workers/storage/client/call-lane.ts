/**
 * The calls of one thread to the storage host that are no appends. Owned by the storage client of a thread.
 *
 * While there is no host they wait, up to a bound. When the host is lost, a call that can be made twice is made again at the next
 * one; any other is answered with STORAGE_UNCERTAIN.
 */
import type { MessagePort } from 'node:worker_threads';
import { StorageError } from '../../../core/streams/storage-error.ts';
import { fromSentError, type SentError } from '../link.ts';
import type { ClientToHost, StorageCall } from '../messages.ts';

/** Calls that wait for a host; one more is refused. */
const waitingMax = 10_000;

interface Call {
  /** Made when it is sent: numbers of partitions are others at each host. May throw a StorageError. */
  readonly make: () => StorageCall;
  readonly canRepeat: boolean;
  resolve(result: unknown): void;
  reject(error: StorageError): void;
}

export class CallLane {
  readonly #sent = new Map<number, Call>();
  #waiting: Call[] = [];
  #port: MessagePort | null = null;
  #isOpen = false;
  #id = 0;
  #refusal: StorageError | null = null;

  /** Calls without an answer. */
  get unanswered(): number {
    return this.#sent.size + this.#waiting.length;
  }

  /** A link to a host; calls other than `early` ones go out after `open`. */
  attach(port: MessagePort): void {
    this.#port = port;
  }

  open(): void {
    this.#isOpen = true;
    for (const call of this.#waiting.splice(0)) this.#send(call);
  }

  /** Rejects with a StorageError. `early`: part of the joining itself. */
  run(make: () => StorageCall, options: { readonly canRepeat: boolean; readonly isEarly?: boolean }): Promise<unknown> {
    if (this.#refusal !== null) return Promise.reject(this.#refusal);
    return new Promise((resolve, reject) => {
      const call: Call = { make, canRepeat: options.canRepeat, resolve, reject };
      if (this.#isOpen || options.isEarly === true) this.#send(call);
      else if (this.#waiting.length < waitingMax) this.#waiting.push(call);
      else reject(new StorageError('STORAGE_UNAVAILABLE', 'Cannot use the storage: too many calls wait for it'));
    });
  }

  answered(id: number, result: unknown): void {
    this.#take(id)?.resolve(result);
  }

  failed(id: number, error: SentError): void {
    this.#take(id)?.reject(fromSentError(error));
  }

  /** The host is gone. */
  lose(): void {
    this.#port = null;
    this.#isOpen = false;
    const lost = [...this.#sent.values()];
    this.#sent.clear();
    for (const call of lost) {
      if (call.canRepeat && this.#refusal === null) this.#waiting.push(call);
      else call.reject(this.#refusal ?? uncertain());
    }
  }

  /** Refuses what waits for a host. */
  giveUp(error: StorageError): void {
    for (const call of this.#waiting.splice(0)) call.reject(error);
  }

  /** Refuses everything from now on, except what is under way. */
  close(error: StorageError): void {
    this.#refusal = error;
    if (!this.#isOpen) this.giveUp(error);
  }

  #send(call: Call): void {
    const id = this.#id;
    this.#id += 1;
    try {
      const message: ClientToHost = { id, call: call.make() };
      this.#sent.set(id, call);
      this.#port?.postMessage(message);
    } catch (thrown) {
      this.#sent.delete(id);
      if (!(thrown instanceof StorageError)) throw thrown;
      call.reject(thrown);
    }
  }

  #take(id: number): Call | undefined {
    const call = this.#sent.get(id);
    this.#sent.delete(id);
    return call;
  }
}

function uncertain(): StorageError {
  return new StorageError('STORAGE_UNCERTAIN', 'Cannot say whether the call was carried out: the storage was lost');
}
