/** Single calls that are tried again where that is harmless. Any thread; used by the parts of the client. */
import { setTimeout as sleep } from 'node:timers/promises';
import { backOffMs } from './back-off.ts';
import type { Connection, ConnectionPool, Method } from './connection.ts';
import type { Endpoints } from './endpoints.ts';
import { canTryAgain, closedError, PlacementCallError, timedOut } from './errors.ts';

/** With other servers at hand, one that does not accept connections is waited for no longer than this. */
const connectMs = 1500;

export class Caller {
  readonly pool: ConnectionPool;
  readonly endpoints: Endpoints;
  /** Aborted by `close`; ends pauses. */
  private readonly stop = new AbortController();

  constructor(pool: ConnectionPool, endpoints: Endpoints) {
    this.pool = pool;
    this.endpoints = endpoints;
  }

  get isClosed(): boolean {
    return this.stop.signal.aborted;
  }

  /** `isHarmless`: it may run twice. */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    timeoutMs: number,
    isHarmless: boolean,
  ): Promise<Response> {
    return this.retry(timeoutMs, isHarmless, async (connection, leftMs) => {
      await connection.ready(this.endpoints.count > 1 ? Math.min(connectMs, leftMs) : leftMs);
      return connection.unary(method, request, leftMs);
    });
  }

  /** Runs `attempt` with the server of the moment until it succeeds, fails for good, or the time is up. */
  async retry<T>(
    timeoutMs: number,
    isHarmless: boolean,
    attempt: (connection: Connection, leftMs: number) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = performance.now() + timeoutMs;
    for (let count = 1; ; count++) {
      if (this.isClosed) throw closedError();
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw timedOut(timeoutMs);
      const connection = this.pool.get(this.endpoints.current());
      try {
        return await attempt(connection, leftMs);
      } catch (error) {
        if (!(error instanceof PlacementCallError)) throw error;
        if (this.isClosed) throw closedError();
        if (!canTryAgain(error, isHarmless)) throw error;
        this.leave(connection.address, error);
        const pauseMs = backOffMs(count);
        if (pauseMs >= deadlineMs - performance.now()) throw error;
        await this.pause(pauseMs);
      }
    }
  }

  /** The next try goes to the leader that the error names, or to the next server. */
  leave(address: string, { code, leaderAddress }: PlacementCallError): void {
    if (code === 'OVERLOADED' || leaderAddress === address) return;
    if (!this.endpoints.prefer(leaderAddress)) this.endpoints.avoid(address);
  }

  /** Rejects with `CLOSED` when the client is closed meanwhile. */
  async pause(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, { signal: this.stop.signal });
    } catch (error) {
      if (this.isClosed) throw closedError();
      throw error;
    }
  }

  onClose(handler: () => void): () => void {
    const { signal } = this.stop;
    signal.addEventListener('abort', handler);
    return () => signal.removeEventListener('abort', handler);
  }

  close(): void {
    this.stop.abort();
  }
}
