/** A subscriber that notes what it gets and answers by the protocol, at once or late. Thread of the test. */
import type { AnyPacket } from '../support/mqtt/mqtt-host.ts';
import { type Grade, Inbox, type Line } from './ledger.ts';
import { SessionClient, type SessionClientOptions } from './session-client.ts';

export interface SubscriberOptions extends SessionClientOptions {
  readonly filters: readonly string[];
  readonly qos: Grade;
  /** Milliseconds after which it answers; 0 at once. */
  readonly answersAfterMs?: number;
}

export class Subscriber extends SessionClient {
  readonly inbox: Inbox;
  readonly filters: readonly string[];
  /** The broker has said that it is subscribed. */
  isSubscribed = false;
  readonly #qos: Grade;
  readonly #answersAfterMs: number;
  readonly #lines: ReadonlyMap<string, Line>;
  /** Packet identifiers of QoS 2 that came and were not released. */
  readonly #received = new Set<number>();

  constructor(options: SubscriberOptions, lines: ReadonlyMap<string, Line>) {
    super(options);
    this.filters = options.filters;
    this.#qos = options.qos;
    this.#answersAfterMs = options.answersAfterMs ?? 0;
    this.#lines = lines;
    this.inbox = new Inbox(options.clientId, options.qos);
  }

  protected onConnected(isPresent: boolean): void {
    this.sessionIsKept();
    if (!isPresent) this.#received.clear();
    if (this.isSubscribed) return;
    const subscriptions = this.filters.map((topic) => ({ topic, qos: this.#qos }));
    this.send({ cmd: 'subscribe', messageId: 1, subscriptions });
  }

  protected onPacket(packet: AnyPacket): void {
    const { cmd, messageId, qos, topic } = packet;
    if (cmd === 'suback') this.isSubscribed = true;
    else if (cmd === 'pubrel') {
      this.#received.delete(messageId as number);
      this.#answer({ cmd: 'pubcomp', messageId });
    } else if (cmd === 'publish') {
      const isNew = qos !== 2 || !this.#received.has(messageId as number);
      if (qos === 2) this.#received.add(messageId as number);
      if (isNew) this.#note(topic as string, Number(String(packet.payload)));
      if (qos === 0) this.report(`${String(topic)} came with QoS 0`);
      else this.#answer({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
    } else this.report(`${String(cmd)} came`);
  }

  #note(topic: string, number: number): void {
    const line = this.#lines.get(topic);
    if (line === undefined || !Number.isInteger(number)) this.report(`${topic} "${number}" came, which nobody sent`);
    else this.inbox.arrived(line, number);
  }

  #answer(packet: AnyPacket): void {
    const { connects } = this;
    const answer = (): void => {
      // On another connection it would be the answer to something else.
      if (this.connects === connects && this.isConnected) this.send(packet);
    };
    if (this.#answersAfterMs === 0) answer();
    else setTimeout(answer, this.#answersAfterMs).unref();
  }
}
