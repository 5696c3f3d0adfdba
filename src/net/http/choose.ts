/**
 * Chooses the HTTP adapter at start: uWebSockets.js where it loads, `ws` on `node:http` otherwise. Called on the main
 * thread, which logs the reason; workers load the adapter that main chose. Nothing is imported before it is wanted.
 */
import { BrokerError } from '../../std/errors.ts';
import type { HttpAdapter, HttpAdapterName } from './port.ts';

export interface ChosenHttpAdapter {
  readonly adapter: HttpAdapter;
  /** For the log: why this one. */
  readonly reason: string;
}

/**
 * `auto` prefers uWebSockets.js. Rejects with `BrokerError` `HTTP_ADAPTER_UNAVAILABLE` when `uws` is asked for by name
 * and does not load on this machine.
 */
export async function chooseHttpAdapter(requested: 'auto' | HttpAdapterName): Promise<ChosenHttpAdapter> {
  if (requested === 'node') return { adapter: await loadNode(), reason: 'requested by the configuration' };
  try {
    const adapter = await loadUws();
    return { adapter, reason: requested === 'uws' ? 'requested by the configuration' : 'uWebSockets.js loads here' };
  } catch (error) {
    const why = shortReason(error);
    if (requested === 'uws') {
      throw new BrokerError(
        'HTTP_ADAPTER_UNAVAILABLE',
        `Cannot use HTTP adapter "uws": uWebSockets.js does not load here (${why})`,
        { cause: error },
      );
    }
    return { adapter: await loadNode(), reason: `uWebSockets.js does not load here (${why})` };
  }
}

/** The adapter of this name, for a thread that is told which one main chose. Rejects when it does not load. */
export async function loadHttpAdapter(name: HttpAdapterName): Promise<HttpAdapter> {
  return name === 'uws' ? loadUws() : loadNode();
}

async function loadUws(): Promise<HttpAdapter> {
  return (await import('./uws/adapter.ts')).uwsAdapter;
}

async function loadNode(): Promise<HttpAdapter> {
  return (await import('./node/adapter.ts')).nodeAdapter;
}

/** The loader's message ends with the line that tells the cause: a missing file or a C library that is too old. */
function shortReason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const glibc = /version [`'](GLIBC_[\d.]+)' not found/.exec(message);
  if (glibc !== null) return `it needs ${glibc[1]}, which this machine's C library does not have`;
  return message.trim().split('\n').at(-1)?.slice(0, 200) ?? 'unknown reason';
}
