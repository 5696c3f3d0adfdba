/**
 * The administration API of one broker, for the verbs about streams and records. Main thread of the command's process; made by the
 * verbs of `stream.ts` and `record*.ts`.
 */
import { formatAddress, parseAddress } from '../../config/address.ts';
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { CliError, UsageError } from '../exit-codes.ts';
import { readSecretFile } from './secret.ts';

/** Where a broker serves HTTP when its configuration says nothing else. */
const defaultServer = '127.0.0.1:8080';

export const httpOptions: readonly OptionSpec[] = [
  { long: 'server', short: 's', value: 'HOST:PORT', help: `HTTP address of a broker (${defaultServer})` },
  { long: 'timeout', value: 'SECONDS', help: 'for each request (5)' },
  { long: 'json', help: 'print JSON instead of a table' },
  { long: 'token-file', value: 'FILE', help: 'file with a token, where the broker asks who calls ($RINGMQ_TOKEN)' },
  { long: 'login', value: 'NAME', help: 'administrator to log in as, with the password in --login-password-file' },
  { long: 'login-password-file', value: 'FILE', help: 'file with that password ($RINGMQ_PASSWORD)' },
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
  readonly #authorization: Readonly<Record<string, string>>;

  /** Throws `UsageError`. */
  constructor(options: ParsedArguments) {
    const text = options.text('server') ?? defaultServer;
    const address = parseAddress(text);
    if (address === undefined || address.port === 0) {
      throw new UsageError(`Cannot use --server "${text}": expected HOST:PORT, where the broker serves HTTP`);
    }
    this.#address = formatAddress(address);
    this.#timeoutMs = Math.ceil(options.number('timeout', 5, 0.001, 86_400) * 1000);
    this.#authorization = authorizationOf(options, process.env);
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

  /** Rejects with `AdminCallError`. */
  delete<T = Answer>(path: string): Promise<T> {
    return this.#ask(path, { method: 'DELETE' });
  }

  async #ask<T>(path: string, init: AdminRequest): Promise<T> {
    let status = 0;
    let text = '';
    try {
      const signal = AbortSignal.timeout(this.#timeoutMs);
      const response = await fetch(`http://${this.#address}/api/v1${path}`, {
        ...init,
        headers: { ...init.headers, ...this.#authorization },
        signal,
        redirect: 'error',
      });
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

interface AdminRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Throws `UsageError`. Secrets come from files and the environment, never from the command line. */
function authorizationOf(options: ParsedArguments, environment: NodeJS.ProcessEnv): Readonly<Record<string, string>> {
  const login = options.text('login');
  const tokenFile = options.text('token-file');
  if (login !== undefined && tokenFile !== undefined)
    throw new UsageError('Cannot use --login and --token-file together');
  if (login !== undefined) {
    const path = options.text('login-password-file');
    const password = path === undefined ? environment.RINGMQ_PASSWORD : readSecretFile(path);
    if (password === undefined) {
      throw new UsageError('Cannot log in: expected --login-password-file FILE, or RINGMQ_PASSWORD in the environment');
    }
    const pair = Buffer.concat([Buffer.from(`${login}:`), Buffer.from(password)]);
    return { authorization: `Basic ${pair.toString('base64')}` };
  }
  const token = tokenFile === undefined ? environment.RINGMQ_TOKEN : readSecretFile(tokenFile).toString('utf8');
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` };
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
