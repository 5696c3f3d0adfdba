/**
 * A toy protocol that answers every line with the index of its worker and the line. The integration tests copy it into
 * a copy of the sources, to prove that a protocol is one folder and one line in the registry (`checkout.ts`).
 *
 * Some lines do something else: `throw`, `stall` and `exit` do that to the worker; `quit` closes; `claim NAME` and
 * `discard NAME` ask the directory; `tell TEXT` broadcasts; `heard` answers what was broadcast; `flood BYTES` sends.
 */
import type { TObject } from 'typebox';
import type { CloseReason, Connection, ConnectionHandler } from '../../../src/core/ports/connection.ts';
import type { Protocol, ProtocolContext, ProtocolWorker } from '../../../src/core/ports/protocol.ts';
import type { SessionOwner } from '../../../src/core/ports/session-directory.ts';
import { WheelTimer } from '../../../src/std/timing-wheel.ts';

const settings = {
  type: 'object',
  description: 'The toy protocol.',
  properties: { greeting: { type: 'string', description: 'First line to a client; empty: none.', default: '' } },
  required: ['greeting'],
} as unknown as TObject;

export const echo: Protocol = {
  name: 'echo',
  defaultPort: 7007,
  settings,
  metrics: [{ name: 'ringmq_echo_lines_total', help: 'Lines that were answered.', kind: 'counter' }],
  loadWorker: async () => (context) => new EchoWorker(context),
};

class EchoWorker implements ProtocolWorker, SessionOwner {
  readonly context: ProtocolContext;
  readonly greeting: string;
  readonly linesSlot: number;
  readonly sessions = new Map<string, string>();
  readonly heard: string[] = [];
  private readonly connections = new Set<Connection>();

  constructor(context: ProtocolContext) {
    this.context = context;
    this.greeting = (context.settings as { greeting: string }).greeting;
    this.linesSlot = context.metrics.slot('ringmq_echo_lines_total');
    context.directory.register('echo', this);
    context.control.onBroadcast('echo', (from, payload) => this.heard.push(`${payload} from ${from}`));
    context.control.onWorkerGone((worker) => this.heard.push(`gone ${worker}`));
    context.control.onWorkerReady((worker) => this.heard.push(`ready ${worker}`));
  }

  accept(connection: Connection): ConnectionHandler {
    this.connections.add(connection);
    return new EchoHandler(this, connection, () => this.connections.delete(connection));
  }

  drain(): void {
    for (const connection of [...this.connections]) {
      send(connection, 'bye\n');
      connection.close('shutdown');
    }
  }

  yieldSession(name: string): unknown {
    return this.sessions.get(name);
  }

  releaseSession(name: string, epoch: number): unknown {
    const state = this.sessions.get(name);
    this.sessions.delete(name);
    return state === undefined ? undefined : `${state}@${epoch}`;
  }

  discardSession(name: string): void {
    this.sessions.delete(name);
  }

  keepSession(): void {
    // Nothing changed when it was yielded.
  }

  dropCopy(name: string): void {
    this.sessions.delete(name);
  }
}

class EchoHandler implements ConnectionHandler {
  private readonly worker: EchoWorker;
  private readonly connection: Connection;
  private readonly onEnd: () => void;
  private readonly handshake: WheelTimer;

  constructor(worker: EchoWorker, connection: Connection, onEnd: () => void) {
    this.worker = worker;
    this.connection = connection;
    this.onEnd = onEnd;
    this.handshake = new WheelTimer(() => connection.destroy('handshake-timeout'));
    worker.context.timers.start(this.handshake, worker.context.handshakeTimeoutMs);
    if (worker.greeting !== '') send(connection, `${worker.greeting}\n`);
  }

  onData(buffer: Buffer, start: number, end: number): number {
    let at = start;
    for (let feed = buffer.indexOf(10, at); feed !== -1 && feed < end; feed = buffer.indexOf(10, at)) {
      const line = buffer.toString('utf8', at, feed);
      at = feed + 1;
      this.worker.context.timers.cancel(this.handshake);
      this.worker.context.metrics.increment(this.worker.linesSlot);
      this.answer(line);
      if (this.connection.closed) return end;
    }
    return at;
  }

  onDrain(): void {}

  onClose(_reason: CloseReason): void {
    this.worker.context.timers.cancel(this.handshake);
    this.onEnd();
  }

  private answer(line: string): void {
    const { worker, connection } = this;
    const { workerIndex, directory, control } = worker.context;
    const reply = (text: string): void => send(connection, `w${workerIndex} ${text}\n`);
    const [verb, argument = ''] = line.split(' ');
    if (verb === 'throw') throw new Error('the toy was told to throw');
    if (verb === 'stall') for (;;);
    if (verb === 'exit') process.exit(7);
    if (verb === 'quit') {
      reply('quit');
      connection.close('client');
    } else if (verb === 'claim' || verb === 'discard') {
      directory.claim('echo', argument, verb === 'discard', false, {
        install: (state) => {
          reply(`install ${state}`);
          return 7;
        },
        granted: ({ state }) => {
          worker.sessions.set(argument, `${state ?? 'new'}+w${workerIndex}`);
          reply(`granted ${state}`);
        },
        refused: () => reply('refused'),
      });
    } else if (verb === 'tell') {
      control.broadcast('echo', argument, () => reply('told'));
    } else if (verb === 'heard') {
      reply(worker.heard.join(', '));
    } else if (verb === 'flood') {
      send(connection, `${'x'.repeat(Number(argument))}\n`);
    } else {
      reply(line);
    }
  }
}

function send(connection: Connection, text: string): void {
  const bytes = Buffer.from(text);
  connection.write(bytes, 0, bytes.length);
}
