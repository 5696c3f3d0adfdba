/**
 * Events about clients and alarms as JSON, below `$SYS/brokers/<node>/`, with the fields that users of EMQX know. One per connection worker.
 *
 * Nothing is put together while nobody reads it: with no subscriber below `$` an event costs one comparison, with one a look for this topic.
 */
import type { AlarmChange } from '../../../core/ports/alarms.ts';
import type { CloseReason, Connection } from '../../../core/ports/connection.ts';
import type { NodeView } from '../../../core/ports/node.ts';
import { sessionOf } from '../../../core/tenants/tenant-names.ts';
import type { ProtocolLevel } from '../codec/frame.ts';
import { reasonName } from '../errors.ts';
import type { MqttSettings } from '../settings.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { levelOf } from './event-topic.ts';
import { SecondLimit, type SystemOutput } from './system-output.ts';

/** What an event tells of a client. */
export interface EventClient {
  readonly level: ProtocolLevel;
  /** `clientId` is the name of the session. */
  readonly session: { readonly clientId: string; readonly expiryS: number } | null;
  readonly permissions: { readonly identity: { readonly tenant: string; readonly user: string } } | null;
  readonly connection: Pick<Connection, 'remoteAddress' | 'listener'>;
  readonly keepAliveMs: number;
  /** Unix time, ms; set by `connected`. */
  connectedAtMs: number;
}

/** What a client said of itself that was not let in. */
interface Attempt {
  /** Where it wanted to go. */
  readonly tenant: string;
  readonly clientId: string;
  readonly username?: string | undefined;
}

/** The client that an event is about. */
type Whose = ReturnType<typeof sessionOf>;

type EventName = keyof MqttSettings['system']['events'];

/** Somebody who guesses passwords must not make the broker busy with telling it. */
const authenticationEventsPerS = 10;

/** The words that EMQX has for it, where it has some. */
const closeReasons: Readonly<Record<CloseReason, string>> = {
  client: 'tcp_closed',
  'protocol-error': 'protocol_error',
  'keep-alive': 'keepalive_timeout',
  'handshake-timeout': 'idle_timeout',
  'taken-over': 'takenover',
  'slow-consumer': 'slow_consumer',
  refused: 'refused',
  limit: 'limit',
  'network-error': 'tcp_error',
  administrator: 'kicked',
  'internal-error': 'internal_error',
  shutdown: 'server_shutdown',
};

export class SystemEvents {
  private readonly output: SystemOutput;
  private readonly node: NodeView;
  private readonly enabled: MqttSettings['system']['events'];
  private readonly clientLimit: SecondLimit;
  private readonly authenticationLimit = new SecondLimit(authenticationEventsPerS);

  constructor(output: SystemOutput, node: NodeView, settings: MqttSettings['system']) {
    this.output = output;
    this.node = node;
    this.enabled = settings.events;
    this.clientLimit = new SecondLimit(settings.eventsPerSMax);
    node.onAlarm((change) => this.alarm(change));
  }

  /** CONNACK was sent. */
  connected(client: EventClient, cleanStart: boolean, isResumed: boolean): void {
    client.connectedAtMs = Date.now();
    if (!this.output.hasReaders || client.session === null) return;
    const { expiryS } = client.session;
    const whose = sessionOf(client.session.clientId);
    const topic = this.wanted('connected', whose, 'connected');
    if (topic !== null) {
      this.clientEvent(topic, whose, {
        ...this.common(client, whose),
        keepalive: client.keepAliveMs / 1500,
        clean_start: cleanStart,
        expiry_interval: expiryS,
        connack: 0,
      });
    }
    const session = isResumed
      ? this.wanted('sessionResumed', whose, 'session_resumed')
      : this.wanted('sessionCreated', whose, 'session_created');
    if (session !== null) {
      this.clientEvent(session, whose, {
        ...this.common(client, whose),
        clean_start: cleanStart,
        expiry_interval: expiryS,
      });
    }
  }

  /** The connection of a client that was let in ended; `saidGoodbye`: with a DISCONNECT that asks for no will. */
  disconnected(client: EventClient, reason: CloseReason, saidGoodbye: boolean): void {
    // One that was told of no beginning is told of no end.
    if (!this.output.hasReaders || client.session === null || client.connectedAtMs === 0) return;
    const whose = sessionOf(client.session.clientId);
    const word = reason === 'client' && saidGoodbye ? 'normal' : closeReasons[reason];
    const topic = this.wanted('disconnected', whose, 'disconnected');
    if (topic !== null) {
      const fields = { ...this.common(client, whose), reason: word, disconnected_at: Date.now() };
      this.clientEvent(topic, whose, fields);
    }
    if (reason !== 'taken-over') return;
    const takenOver = this.wanted('sessionTakenOver', whose, 'session_taken_over');
    if (takenOver !== null) this.clientEvent(takenOver, whose, this.common(client, whose));
  }

  /** `path` is what stood in SUBSCRIBE, prefixes such as `$share/<group>/` included. */
  subscribed(client: EventClient, path: string, options: SubscriptionOptions, isNew: boolean): void {
    if (!this.output.hasReaders || client.session === null) return;
    const whose = sessionOf(client.session.clientId);
    const topic = this.wanted('subscribed', whose, 'subscribed');
    if (topic === null) return;
    const { qos, noLocal, retainAsPublished, retainHandling, identifier } = options;
    const subopts = {
      qos,
      nl: Number(noLocal),
      rap: Number(retainAsPublished),
      rh: retainHandling,
      ...(identifier === 0 ? {} : { subid: identifier }),
      is_new: isNew,
    };
    this.clientEvent(topic, whose, { ...this.who(client, whose), topic: path, subopts });
  }

  unsubscribed(client: EventClient, path: string): void {
    if (!this.output.hasReaders || client.session === null) return;
    const whose = sessionOf(client.session.clientId);
    const topic = this.wanted('unsubscribed', whose, 'unsubscribed');
    if (topic !== null) this.clientEvent(topic, whose, { ...this.who(client, whose), topic: path });
  }

  /** The time of a session without a connection is over. `name` is that of the session. */
  sessionExpired(name: string): void {
    if (!this.output.hasReaders) return;
    const whose = sessionOf(name);
    const topic = this.wanted('sessionExpired', whose, 'session_expired');
    if (topic !== null) this.clientEvent(topic, whose, { clientid: whose.clientId, ts: Date.now() });
  }

  /** A client was not let in. `reasonCode` is that of MQTT 5. */
  refused(client: EventClient, attempt: Attempt, reasonCode: number): void {
    if (!this.output.hasReaders) return;
    const { tenant, clientId, username } = attempt;
    const topic = this.wanted('authenticationFailed', attempt, 'authentication_failed');
    if (topic === null) return;
    const fields = {
      clientid: clientId,
      username: username ?? null,
      ipaddress: client.connection.remoteAddress,
      sockport: this.portOf(client),
      proto_ver: client.level,
      reason: reasonName(reasonCode),
      reason_code: reasonCode,
      ts: Date.now(),
    };
    this.output.event(topic, fields, this.authenticationLimit, tenant);
  }

  private alarm({ type, alarm }: AlarmChange): void {
    if (!this.enabled.alarms) return;
    const topic = this.output.wantedTopic(type === 'activated' ? 'alarms/activate' : 'alarms/deactivate');
    if (topic === null) return;
    const { name, subject, message, value, threshold, unit, activatedAtMs, deactivatedAtMs } = alarm;
    const fields = {
      name,
      subject,
      message,
      details: { value, threshold, unit },
      activate_at: activatedAtMs,
      ...(deactivatedAtMs === null
        ? {}
        : { deactivate_at: deactivatedAtMs, duration: deactivatedAtMs - activatedAtMs }),
      ts: Date.now(),
    };
    // Alarms have their own bounds, and are the last that should be lost.
    this.output.event(topic, fields, null);
  }

  private wanted(kind: EventName, { tenant, clientId }: Whose, name: string): string | null {
    return this.enabled[kind] ? this.output.wantedTopic(`clients/${levelOf(clientId)}/${name}`, tenant) : null;
  }

  /** Told in the tenant of the client, and in no other. */
  private clientEvent(topic: string, { tenant }: Whose, fields: object): void {
    this.output.event(topic, fields, this.clientLimit, tenant);
  }

  /** `username` is the proven one; null for an anonymous client, whatever name it gave. */
  private who(client: EventClient, { clientId }: Whose) {
    const user = client.permissions?.identity.user ?? '';
    return { clientid: clientId, username: user === '' ? null : user, protocol: 'mqtt', ts: Date.now() };
  }

  private common(client: EventClient, whose: Whose) {
    const { level, connection, connectedAtMs } = client;
    const { protocol, ...who } = this.who(client, whose);
    return {
      ...who,
      ipaddress: connection.remoteAddress,
      sockport: this.portOf(client),
      proto_name: level === 3 ? 'MQIsdp' : protocol.toUpperCase(),
      proto_ver: level,
      connected_at: connectedAtMs,
    };
  }

  private portOf({ connection }: EventClient): number {
    return this.node.facts.ports[connection.listener.index] ?? 0;
  }
}
