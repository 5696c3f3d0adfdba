/**
 * The services of the journal worker, loaded when the first thread asks for something, or when there is something that goes on by itself: a
 * node that only passes messages on starts without them. Owned by the entry of the worker.
 */
import type { MessagePort } from 'node:worker_threads';
import { toError } from '../../../std/errors.ts';
import type { ClientToServices, ServicesToClient } from '../messages.ts';
import { cursorsStream, hasServiceWork } from './service-streams.ts';
import type { ServicesHost, ServicesHostOptions } from './services-host.ts';

/** A port on which nothing was said that needs the services. */
interface QuietPort {
  readonly port: MessagePort;
  /** Stops listening; answers what was said meanwhile. */
  readonly leave: () => readonly ClientToServices[];
}

export class LazyServicesHost {
  readonly #options: ServicesHostOptions;
  readonly #quiet = new Set<QuietPort>();
  #loading: Promise<ServicesHost> | null = null;
  #host: ServicesHost | null = null;

  constructor(options: ServicesHostOptions) {
    this.#options = options;
  }

  /** A thread wants to use the services, perhaps. */
  connect(port: MessagePort): void {
    if (this.#host !== null) {
      this.#host.connect(port);
      return;
    }
    const received: ClientToServices[] = [];
    const take = (messages: readonly ClientToServices[]): void => {
      received.push(...messages);
      void this.#load();
    };
    const forget = (): void => {
      this.#quiet.delete(quiet);
    };
    const quiet: QuietPort = {
      port,
      leave: () => {
        port.off('message', take);
        port.off('close', forget);
        return received;
      },
    };
    this.#quiet.add(quiet);
    port.on('message', take);
    port.on('close', forget);
    port.unref();
    port.postMessage([{ type: 'hello' }] satisfies ServicesToClient[]);
  }

  /** Goes on with what goes on by itself; called once the store is open. */
  begin(): void {
    void this.#begin();
  }

  /** A client removed a stream. */
  streamRemoved(name: string): void {
    if (this.#host !== null) this.#host.streamRemoved(name);
    else void this.#forgetCursors(name);
  }

  tick(): void {
    this.#host?.tick();
  }

  async stop(): Promise<void> {
    if (this.#loading !== null) await (await this.#loading).stop();
    for (const { port } of this.#quiet) port.close();
    this.#quiet.clear();
  }

  #load(): Promise<ServicesHost> {
    this.#loading ??= this.#open();
    return this.#loading;
  }

  async #open(): Promise<ServicesHost> {
    const { ServicesHost: Host } = await import('./services-host.ts');
    const host = new Host(this.#options);
    this.#host = host;
    const quiet = [...this.#quiet];
    this.#quiet.clear();
    for (const { port, leave } of quiet) host.connect(port, leave());
    return host;
  }

  async #begin(): Promise<void> {
    if (await this.#hasStreams(hasServiceWork)) (await this.#load()).begin();
  }

  async #forgetCursors(name: string): Promise<void> {
    if (await this.#hasStreams((names) => names.includes(cursorsStream))) (await this.#load()).streamRemoved(name);
  }

  /** A store that does not answer may have them: the services try again until it does. */
  async #hasStreams(test: (names: readonly string[]) => boolean): Promise<boolean> {
    try {
      return test(await this.#options.store.names());
    } catch (thrown) {
      this.#options.log.warn('Streams cannot be listed yet', { reason: toError(thrown).message });
      return true;
    }
  }
}
