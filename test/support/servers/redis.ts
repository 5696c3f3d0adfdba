/**
 * Debian's redis-server for tests, in a folder of its own on a free port of 127.0.0.1. Durable unless the test says
 * otherwise: every write is in the append-only file, synced, before it is answered. Thread of the test.
 */
import { connect } from 'node:net';
import { EngineProcess } from './engine-process.ts';

export interface RedisServerOptions {
  /** Default true. */
  readonly appendOnly?: boolean;
  /** Default `always`. */
  readonly appendFsync?: 'always' | 'everysec' | 'no';
  /** Default: none. */
  readonly password?: string;
  /** Default false: one node that has all slots. */
  readonly isCluster?: boolean;
  /** Port of the server that this one copies; it has the same password. */
  readonly replicaOf?: number;
}

const answerLimitMs = 1_000;

export class RedisServer {
  readonly host = '127.0.0.1';
  readonly #process: EngineProcess;
  readonly #options: RedisServerOptions;

  private constructor(process: EngineProcess, options: RedisServerOptions) {
    this.#process = process;
    this.#options = options;
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const process = await EngineProcess.start('redis', (server) => commandOf(server, options));
    const server = new RedisServer(process, options);
    if (options.isCluster === true) await server.#takeAllSlots();
    return server;
  }

  get port(): number {
    return this.#process.port;
  }

  get isRunning(): boolean {
    return this.#process.isRunning;
  }

  /** kill -9. */
  kill(): Promise<void> {
    return this.#process.end('SIGKILL');
  }

  /** Starts it again over the same files. */
  restart(): Promise<void> {
    return this.#process.run();
  }

  pause(): void {
    this.#process.pause();
  }

  resume(): void {
    this.#process.resume();
  }

  stop(): Promise<void> {
    return this.#process.remove();
  }

  /** What the server answers to a command, as it comes. */
  ask(command: string): Promise<string> {
    return ask(this.port, this.#options.password, command);
  }

  async #takeAllSlots(): Promise<void> {
    await this.ask('CLUSTER ADDSLOTSRANGE 0 16383');
    const deadline = Date.now() + 10_000;
    while (!(await this.ask('CLUSTER INFO')).includes('cluster_state:ok')) {
      if (Date.now() > deadline) throw new Error('Cannot make a cluster of one node: its state is not ok');
    }
  }
}

function commandOf(server: EngineProcess, options: RedisServerOptions) {
  const { appendOnly = true, appendFsync = 'always', password, isCluster = false, replicaOf } = options;
  const settings: Record<string, string> = {
    port: `${server.port}`,
    bind: '127.0.0.1',
    dir: server.folder,
    appendonly: appendOnly ? 'yes' : 'no',
    appendfsync: appendFsync,
    save: '',
    'repl-diskless-sync-delay': '0',
    daemonize: 'no',
  };
  if (password !== undefined) settings.requirepass = password;
  if (isCluster) Object.assign(settings, { 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' });
  if (replicaOf !== undefined) {
    settings.replicaof = `127.0.0.1 ${replicaOf}`;
    if (password !== undefined) settings.masterauth = password;
  }
  return {
    program: 'redis-server',
    args: Object.entries(settings).flatMap(([name, value]) => [
      `--${name}`,
      ...(name === 'replicaof' ? value.split(' ') : [value]),
    ]),
    hint: 'install the package redis-server',
    isReady: async () => (await ask(server.port, password, 'PING')).includes('+PONG'),
  };
}

/** Sends one inline command on a connection of its own, and answers what comes back up to the end of a line. */
function ask(port: number, password: string | undefined, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port });
    let answer = '';
    socket.setTimeout(answerLimitMs, () => socket.destroy(new Error('redis-server does not answer')));
    socket.on('error', reject);
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1');
    });
    socket.on('end', () => resolve(answer));
    socket.end(`${password === undefined ? '' : `AUTH "${password}"\r\n`}${command}\r\nQUIT\r\n`);
  });
}
