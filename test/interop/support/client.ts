/**
 * An MQTT client of somebody else behind one interface, so that the same tests run over each library: `mqtt-js.ts`,
 * `paho.ts` and `java.ts` implement it. Names and meanings of properties are those of the specification; user properties are pairs
 * in the order in which they were sent, binary data is text. Thread of the test.
 */

/** Protocol level of CONNECT: 3 is MQTT 3.1, 4 is 3.1.1. */
export type Version = 3 | 4 | 5;
export type Qos = 0 | 1 | 2;

export interface MessageProperties {
  readonly payloadFormatIndicator?: number;
  readonly messageExpiryInterval?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: string;
  readonly userProperties?: readonly (readonly [string, string])[];
  readonly topicAlias?: number;
  /** Received messages only. */
  readonly subscriptionIdentifiers?: readonly number[];
}

export interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
}

export interface Received extends Message {
  readonly dup: boolean;
  readonly packetId: number;
  readonly properties: MessageProperties;
}

export interface Will {
  readonly topic: string;
  readonly payload: string;
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly properties?: MessageProperties & { readonly willDelayInterval?: number };
}

/** How a client reaches the broker; TCP when nothing is said. */
export interface Transport {
  readonly kind: 'tcp' | 'tls' | 'ws' | 'wss';
  /** File with the authority to trust, for TLS. */
  readonly ca?: string;
  /** For WebSocket. */
  readonly path?: string;
}

export interface ConnectOptions {
  readonly port: number;
  readonly version: Version;
  readonly transport?: Transport;
  readonly clientId?: string;
  /** Clean session, clean start; true as a default. */
  readonly clean?: boolean;
  readonly keepAliveS?: number;
  readonly username?: string;
  readonly password?: string;
  readonly will?: Will;
  /** MQTT 5 only. */
  readonly properties?: {
    readonly sessionExpiryInterval?: number;
    readonly receiveMaximum?: number;
    readonly maximumPacketSize?: number;
    readonly topicAliasMaximum?: number;
    readonly requestResponseInformation?: number;
    readonly requestProblemInformation?: number;
  };
  /** False: messages of QoS 1 and 2 are not acknowledged by the library. */
  readonly acks?: boolean;
}

export interface Connack {
  readonly sessionPresent: boolean;
  readonly properties: {
    readonly assignedClientIdentifier?: string;
    readonly serverKeepAlive?: number;
    readonly receiveMaximum?: number;
    readonly maximumPacketSize?: number;
    readonly topicAliasMaximum?: number;
    readonly sessionExpiryInterval?: number;
    readonly responseInformation?: string;
  };
}

export interface Filter {
  readonly topic: string;
  readonly qos?: Qos;
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  readonly retainHandling?: 0 | 1 | 2;
}

export interface PublishOptions {
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly properties?: MessageProperties;
}

export interface DisconnectOptions {
  readonly reasonCode?: number;
  readonly sessionExpiryInterval?: number;
}

/** CONNACK said no. */
export class ConnectionRefused extends Error {
  readonly reasonCode: number;

  constructor(reasonCode: number) {
    super(`Connection refused: ${reasonCode}`);
    this.reasonCode = reasonCode;
  }
}

/** Longest wait for what must come; only a failing test waits that long. */
const waitLimitMs = 15_000;
/** Wait for what must not come. */
const quietMs = 120;

export abstract class InteropClient {
  readonly version: Version;
  connack: Connack = { sessionPresent: false, properties: {} };
  /** In the order of arrival. */
  readonly received: Received[] = [];
  /**
   * Reason code of the broker's DISCONNECT, or null when it closed without one. paho reads the reason code only where
   * properties follow and answers 0 otherwise.
   */
  readonly closed: Promise<number | null>;
  protected markClosed!: (reasonCode: number | null) => void;
  private wake: (() => void) | null = null;

  constructor(version: Version) {
    this.version = version;
    this.closed = new Promise((resolve) => {
      this.markClosed = resolve;
    });
  }

  /** Answers the reason code of each filter. Rejects when the connection ends before. */
  abstract subscribe(
    filters: string | readonly Filter[],
    options?: { subscriptionIdentifier?: number },
  ): Promise<number[]>;
  abstract unsubscribe(filters: readonly string[]): Promise<number[]>;
  /** Resolves with the reason code when the exchange is over: at once for QoS 0, after PUBACK or PUBCOMP otherwise. */
  abstract publish(topic: string, payload: string | Buffer, options?: PublishOptions): Promise<number>;
  abstract disconnect(options?: DisconnectOptions): Promise<void>;
  /** Ends the TCP connection without a DISCONNECT. */
  abstract cut(): Promise<void>;
  /** Neither reads nor sends any more, not even PINGREQ; the connection stays open. */
  abstract fallSilent(): Promise<void>;

  protected add(message: Received): void {
    this.received.push(message);
    this.wake?.();
  }

  /** Resolves when `count` messages have come in all; more are an error. */
  async messages(count: number): Promise<Received[]> {
    const limit = performance.now() + waitLimitMs;
    while (this.received.length < count) {
      const left = limit - performance.now();
      if (left <= 0) throw new Error(`Only ${this.received.length} of ${count} messages came: ${this.describe()}`);
      await this.nextMessage(left);
    }
    if (this.received.length > count) throw new Error(`${this.received.length} messages came: ${this.describe()}`);
    return this.received;
  }

  /** As `messages`, and waits a moment for any that must not come. */
  async exactly(count: number): Promise<Received[]> {
    await this.messages(count);
    await new Promise((resolve) => setTimeout(resolve, quietMs));
    return this.messages(count);
  }

  private nextMessage(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.wake = () => {
        clearTimeout(timer);
        this.wake = null;
        resolve();
      };
    });
  }

  private describe(): string {
    return this.received
      .slice(0, 20)
      .map(({ topic, payload, qos }) => `${topic} ${payload.toString('utf8', 0, 40)} qos ${qos}`)
      .join(', ');
  }
}

/** What a library does not tell, leave to its user, or do. */
export type Ability =
  | 'dup'
  | 'subscription identifiers'
  | 'topic aliases'
  | 'characters beyond U+FFFF'
  | 'U+10FFFF'
  /** It ends the connection when a PUBREC says no. */
  | 'staying after a refusal';

export interface ClientLibrary {
  readonly name: string;
  readonly lacks: ReadonlySet<Ability>;
  connect(options: ConnectOptions): Promise<InteropClient>;
  /** Ends every client that is left. */
  closeAll(): Promise<void>;
  /** Ends what outlives the clients. */
  end?(): Promise<void>;
}

export function toFilters(filters: string | readonly Filter[]): readonly Filter[] {
  return typeof filters === 'string' ? [{ topic: filters, qos: 2 }] : filters;
}

export function textOf(messages: readonly Message[]): string[] {
  return messages.map(({ payload }) => payload.toString());
}
