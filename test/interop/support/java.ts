/**
 * Java clients of the interoperability tests: Eclipse Paho and the HiveMQ client; see `agent-client.ts` and `../java/Agent.java`. Each
 * client has a relay before the broker, since neither library can fall silent or lose its connection at will. Thread of the test.
 */
import { ensureJavaAgent } from '../../../scripts/interop-setup.ts';
import { Agent, AgentClient } from './agent-client.ts';
import type { Ability, ClientLibrary, ConnectOptions } from './client.ts';
import { Relay } from './relay.ts';

/** Paho's client of MQTT 3.1 and 3.1.1 and that of MQTT 5 are two. */
type JavaClientName = 'paho' | 'paho 5' | 'hivemq';

const lacksOf: Readonly<Record<JavaClientName, readonly Ability[]>> = {
  paho: ['characters beyond U+FFFF', 'U+10FFFF'],
  'paho 5': ['dup', 'topic aliases', 'U+10FFFF', 'staying after a refusal'],
  hivemq: ['dup', 'subscription identifiers', 'topic aliases'],
};

const names: Readonly<Record<JavaClientName, string>> = {
  paho: 'paho for Java',
  'paho 5': 'paho for Java',
  hivemq: 'the HiveMQ client',
};

class JavaClient extends AgentClient {
  private readonly relay: Relay;

  constructor(agent: Agent, id: string, options: ConnectOptions, relay: Relay) {
    super(agent, id, options);
    this.relay = relay;
  }

  override async cut(): Promise<void> {
    await this.relay.leftOut;
    this.relay.cut();
  }

  override async fallSilent(): Promise<void> {
    this.relay.silence();
  }
}

export class JavaLibrary implements ClientLibrary {
  readonly name: string;
  readonly lacks: ReadonlySet<Ability>;
  private readonly library: JavaClientName;
  private agent: Agent | null = null;
  private relays: Relay[] = [];
  private clientCount = 0;

  constructor(library: JavaClientName) {
    this.library = library;
    this.name = names[library];
    this.lacks = new Set(lacksOf[library]);
  }

  async connect(options: ConnectOptions): Promise<JavaClient> {
    // Little memory and quick code at once: it is a test of minutes at the most.
    this.agent ??= new Agent('java', [
      '-Xmx256m',
      '-XX:TieredStopAtLevel=1',
      ...ensureJavaAgent(),
      this.library.split(' ')[0] ?? '',
    ]);
    const relay = await Relay.open(options.port, options.acks !== false);
    this.relays.push(relay);
    const client = new JavaClient(this.agent, `${this.clientCount++}`, options, relay);
    await client.connect({ ...options, port: relay.port });
    return client;
  }

  async closeAll(): Promise<void> {
    for (const relay of this.relays.splice(0)) relay.close();
    await this.agent?.call('', 'drop_all');
  }

  async end(): Promise<void> {
    await this.agent?.stop();
    this.agent = null;
  }
}
