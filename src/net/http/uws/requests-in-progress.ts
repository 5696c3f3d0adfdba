/**
 * The requests of one uWebSockets.js app that are not answered within the callback that brought them: their body is
 * still arriving or their handler takes its time. Lives on the thread of the app.
 */
import type { HttpResponse as UwsResponse } from 'uWebSockets.js';

/** Upper bound of the time between two looks at overdue requests. */
const SWEEP_INTERVAL_MS_MAX = 1_000;

export interface RequestInProgress {
  readonly response: UwsResponse;
  /** When it is cut, in ms of `performance.now()`; infinite once the whole request is there. */
  deadlineMs: number;
  /** The peer went away: the library's response must not be touched any more. */
  aborted: boolean;
}

export class RequestsInProgress {
  readonly #requests = new Set<RequestInProgress>();
  readonly #timeoutMs: number;
  readonly #sweep: NodeJS.Timeout;

  /** `timeoutMs` is how long a body may take. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    const interval = Math.max(10, Math.min(SWEEP_INTERVAL_MS_MAX, timeoutMs / 4));
    this.#sweep = setInterval(() => this.#cutOverdue(), interval);
    // The listening socket or the transport keeps the thread alive.
    this.#sweep.unref();
  }

  get count(): number {
    return this.#requests.size;
  }

  /** To be called in the callback that brings the request: from then on the library tells when the peer goes away. */
  begin(response: UwsResponse): RequestInProgress {
    const request = { response, deadlineMs: performance.now() + this.#timeoutMs, aborted: false };
    this.#requests.add(request);
    response.onAborted(() => {
      request.aborted = true;
      this.#requests.delete(request);
    });
    return request;
  }

  /** To be called right before the response is written. */
  end(request: RequestInProgress): void {
    this.#requests.delete(request);
  }

  /** Ends the time limits. */
  stop(): void {
    clearInterval(this.#sweep);
  }

  /** Closing calls `onAborted`, which takes the request out of the set; a set allows that while it is walked. */
  #cutOverdue(): void {
    const now = performance.now();
    for (const request of this.#requests) if (now >= request.deadlineMs) request.response.close();
  }
}
