/**
 * The administration API of one broker, for the verbs about streams and records. Main thread of the command's process; made by the
 * verbs of `stream.ts` and `record*.ts`.
 */
import { formatAddress, parseAddress } from '../../config/address.ts';
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { CliError, UsageError } from '../exit-codes.ts';

/** Where a broker serves HTTP when its configuration says nothing else. */
const defaultServer = '127.0.0.1:8080';

export const httpOptions: readonly OptionSpec[] = [
  { long: 'server', short: 's', value: 'HOST:PORT', help: `HTTP address of a broker (${defaultServer})` },
  { long: 'timeout', value: 'SECONDS', help: 'for each request (5)' },
  { long: 'json', help: 'print JSON instead of a table' },
];

/** The broker refused, or could not be asked. */
export class AdminCallError extends CliError {
  /** Of the answer; '' when there was none that could be understood. */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

/** An answer of the API; the fields are those of the resource that was asked. */
export type Answer = Readonly<Record<string, unknown>>;
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export class AdminClient {
  readonly #address: string;
  readonly #timeoutMs: number;

  /** Throws `UsageError`. */
  constructor(options: ParsedArguments) {
    const text = options.text('server') ?? defaultServer;
    const address = parseAddress(text);
    if (address === undefined || address.port === 0) {
      throw new UsageError(`Cannot use --server "${text}": expected HOST:PORT, where the broker serves HTTP`);
    }
    this.#address = formatAddress(address);
    this.#timeoutMs = Math.ceil(options.number('timeout', 5, 0.001, 86_400) * 1000);
  }

  /** Fields without a value are left out. Rejects with `AdminCallError`. */
  get<T = Answer>(path: string, query: Query = {}): Promise<T> {
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    );
    return this.#ask(`${path}?${new URLSearchParams(given)}`, {});
  }

  /** Rejects with `AdminCallError`. */
  post<T = Answer>(path: string, body: object): Promise<T> {
    const headers = { 'content-type': 'application/json' };
    return this.#ask(path, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  async #ask<T>(path: string, init: RequestInit): Promise<T> {
    let status = 0;
    let text = '';
    try {
      const signal = AbortSignal.timeout(this.#timeoutMs);
      const response = await fetch(`http://${this.#address}/api/v1${path}`, { ...init, signal, redirect: 'error' });
      status = response.status;
      text = await response.text();
    } catch (error) {
      throw new AdminCallError(`Cannot ask ${this.#address}: ${this.#describe(error)}`, '');
    }
    const answer = parse(text);
    if (answer !== null && status >= 200 && status < 300) return answer as T;
    const { message, code } = answer ?? {};
    if (typeof message === 'string' && typeof code === 'string') throw new AdminCallError(`${message} (${code})`, code);
    if (status === 413) throw new AdminCallError('Cannot send request: it is too long for the administration API', '');
    throw new AdminCallError(`Cannot understand ${this.#address}: it answers with status ${status}`, '');
  }

  #describe(error: unknown): string {
    const { name, message, cause } = error as Error;
    if (name === 'TimeoutError') return `there was no answer within ${this.#timeoutMs} ms`;
    return cause instanceof Error && cause.message !== '' ? cause.message : message;
  }
}

function parse(text: string): Answer | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Answer) : null;
  } catch (error) {
    // Another server, or another resource: the status says more.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
