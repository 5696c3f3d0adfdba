/**
 * An MQTT client that lives in an agent, a process of another language that holds all clients of a suite and is led line by line;
 * see `client.ts` and `../python/paho_agent.py`. Thread of the test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import {
  type Connack,
  ConnectionRefused,
  type ConnectOptions,
  type DisconnectOptions,
  type Filter,
  InteropClient,
  type MessageProperties,
  type PublishOptions,
  type Qos,
  toFilters,
} from './client.ts';

interface AgentLine {
  readonly id?: number;
  readonly ok?: boolean;
  readonly result?: unknown;
  readonly error?: string;
  readonly event?: 'message' | 'closed' | 'ready';
  readonly client?: string;
  readonly reasonCode?: number | null;
}

interface AgentMessage extends AgentLine {
  readonly topic: string;
  readonly payload: string;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly mid: number;
  readonly properties: Record<string, unknown>;
}

interface AgentConnack {
  readonly sessionPresent: boolean;
  readonly reasonCode: number;
  readonly properties: Record<string, unknown>;
}

/** The process. */
export class Agent {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private readonly listeners = new Map<string, (line: AgentLine) => void>();
  private nextId = 1;
  private errors = '';
  private hasEnded = false;

  constructor(command: string, args: readonly string[]) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    // That it has ended is told by the end of the process.
    this.child.stdin?.on('error', () => undefined);
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on('line', (line) => this.onLine(line));
    this.child.on('error', (error) => {
      this.errors += String(error);
    });
    this.child.on('close', () => {
      this.hasEnded = true;
      for (const { reject } of this.waiting.values()) reject(new Error(`The agent ended:\n${this.errors}`));
    });
  }

  call(client: string, op: string, fields: object = {}): Promise<unknown> {
    const id = this.nextId++;
    if (this.hasEnded) return Promise.reject(new Error(`The agent has ended:\n${this.errors}`));
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.stdin?.write(`${JSON.stringify({ id, client, op, ...fields })}\n`);
    });
  }

  listen(client: string, listener: (line: AgentLine) => void): void {
    this.listeners.set(client, listener);
  }

  private onLine(text: string): void {
    const line = JSON.parse(text) as AgentLine;
    if (line.id === undefined) {
      this.listeners.get(line.client ?? '')?.(line);
      return;
    }
    const call = this.waiting.get(line.id);
    this.waiting.delete(line.id);
    if (line.ok) call?.resolve(line.result);
    else call?.reject(new Error(line.error));
  }

  async stop(): Promise<void> {
    if (this.hasEnded) return;
    const closed = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await closed;
  }
}

export class AgentClient extends InteropClient {
  private readonly agent: Agent;
  private readonly id: string;

  constructor(agent: Agent, id: string, options: ConnectOptions) {
    super(options.version);
    this.agent = agent;
    this.id = id;
    agent.listen(id, (line) => {
      if (line.event === 'closed') this.markClosed(line.reasonCode ?? null);
      else this.onMessage(line as AgentMessage);
    });
  }

  async connect(options: ConnectOptions): Promise<this> {
    const { port, version, clientId, clean, keepAliveS, username, password, acks, will, properties, transport } =
      options;
    const result = (await this.agent.call(this.id, 'connect', {
      ...{ host: '127.0.0.1', port, version, clientId, clean, keepAliveS, username, password, acks, transport },
      ...(properties === undefined ? {} : { properties: toAgent(properties) }),
      ...(will === undefined
        ? {}
        : {
            will: {
              ...will,
              payload: Buffer.from(will.payload).toString('base64'),
              properties: version === 5 ? toAgent(will.properties ?? {}) : {},
            },
          }),
    })) as AgentConnack;
    if (result.reasonCode !== 0) throw new ConnectionRefused(result.reasonCode);
    this.connack = { sessionPresent: result.sessionPresent, properties: fromAgent(result.properties) } as Connack;
    return this;
  }

  private onMessage(line: AgentMessage): void {
    const { topic, payload, qos, retain, dup, mid, properties } = line;
    const fields = { topic, payload: Buffer.from(payload, 'base64'), qos, retain, dup, packetId: mid };
    this.add({ ...fields, properties: fromAgent(properties) });
  }

  subscribe(filters: string | readonly Filter[], options?: { subscriptionIdentifier?: number }): Promise<number[]> {
    const properties = options === undefined ? {} : toAgent(options);
    return this.call('subscribe', { filters: toFilters(filters), properties }) as Promise<number[]>;
  }

  unsubscribe(filters: readonly string[]): Promise<number[]> {
    return this.call('unsubscribe', { filters }) as Promise<number[]>;
  }

  async publish(topic: string, payload: string | Buffer, options: PublishOptions = {}): Promise<number> {
    const result = await this.call('publish', {
      topic,
      payload: Buffer.from(payload).toString('base64'),
      qos: options.qos ?? 0,
      retain: options.retain ?? false,
      properties: toAgent(options.properties ?? {}),
    });
    return (result as { reasonCode: number }).reasonCode;
  }

  /** Acknowledges a message of a client that was connected with `acks: false`. */
  async ack(packetId: number, qos: Qos): Promise<void> {
    await this.call('ack', { mid: packetId, qos });
  }

  async disconnect({ reasonCode = 0, sessionExpiryInterval }: DisconnectOptions = {}): Promise<void> {
    const properties = sessionExpiryInterval === undefined ? {} : toAgent({ sessionExpiryInterval });
    await this.call('disconnect', { reasonCode, properties });
  }

  async cut(): Promise<void> {
    await this.call('cut');
  }

  async fallSilent(): Promise<void> {
    await this.call('fall_silent');
  }

  private call(op: string, fields: object = {}): Promise<unknown> {
    return this.agent.call(this.id, op, fields);
  }
}

/** paho's names are those of ours with a capital. */
function toAgent(properties: object): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'userProperties') result['UserProperty'] = value;
    else if (name === 'correlationData') result['CorrelationData'] = Buffer.from(value as string).toString('base64');
    else result[name[0]?.toUpperCase() + name.slice(1)] = value;
  }
  return result;
}

function fromAgent(properties: Record<string, unknown>): MessageProperties {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'UserProperty') result['userProperties'] = value;
    else if (name === 'SubscriptionIdentifier') result['subscriptionIdentifiers'] = value;
    else if (name === 'CorrelationData') result['correlationData'] = Buffer.from(value as string, 'base64').toString();
    else result[name[0]?.toLowerCase() + name.slice(1)] = value;
  }
  return result;
}
