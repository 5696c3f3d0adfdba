/**
 * One MQTT connection: what its handlers share. Thread: the connection's worker.
 *
 * Phases: a stranger may send CONNECT only; then it is found out who it is and the session is claimed, during which nothing
 * is read but AUTH where the method needs it; then the client is connected. `end` and `fail` are the only ways in which handlers finish a connection.
 */
import type { Route } from '../../../core/broker/route.ts';
import type { Router } from '../../../core/broker/router.ts';
import type { PublishMeter } from '../../../core/limits/publish-meter.ts';
import type { AccessControl, Login, Permissions } from '../../../core/ports/access.ts';
import type { CloseReason, Connection } from '../../../core/ports/connection.ts';
import type { ClientLimits, ClientPlace } from '../../../core/ports/limits.ts';
import type { SessionSlots } from '../../../core/ports/session-slots.ts';
import type { ClientValues, TopicRewrite } from '../../../core/routing/topic-rewrite.ts';
import type { TenantNames } from '../../../core/tenants/tenant-names.ts';
import type { Logger } from '../../../observability/log.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import type { ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { PendingAnswers } from '../durable/pending-answers.ts';
import { reasonName } from '../errors.ts';
import type { TopicLimits } from '../limits/topic-limits.ts';
import type { MqttMetrics } from '../metrics.ts';
import { generateConnack, generateDisconnect } from '../packets/generate.ts';
import type { MqttSettings } from '../settings.ts';
import type { OutgoingAliases } from '../state/outgoing-aliases.ts';
import type { RetainedReplay } from '../state/retained-replay.ts';
import type { Link, Session } from '../state/session.ts';
import type { MqttSubscription } from '../state/subscription.ts';
import type { StreamFeatures } from '../streams/stream-features.ts';
import type { SystemTopics } from '../system/system-topics.ts';
import type { OwnPublisher } from './own-publisher.ts';
import type { SessionRegistry } from './session-registry.ts';
import type { TenantRules } from './tenant-rules.ts';

/** What all connections of a worker share. */
export interface ClientHost extends StreamFeatures {
  readonly router: Router;
  readonly registry: SessionRegistry;
  readonly delivery: Delivery;
  readonly access: AccessControl;
  readonly limits: ClientLimits;
  readonly topicLimits: TopicLimits;
  readonly ownPublisher: OwnPublisher;
  /** Sessions that outlive the broker; null: none does. */
  readonly slots: SessionSlots | null;
  readonly metrics: MqttMetrics;
  readonly timers: TimingWheel;
  readonly system: SystemTopics;
  readonly settings: MqttSettings;
  /** What the settings say of the clients of each tenant. */
  readonly tenants: TenantRules;
  readonly log: Logger;
  readonly handshakeTimeoutMs: number;
  /** No new clients: the worker drains. */
  isDraining: boolean;
}

export const Phase = { STRANGER: 0, CLAIMING: 1, CONNECTED: 2, ENDED: 3, AUTHENTICATING: 4 } as const;

/** What the rewrite rules make of a topic. */
export interface Renaming {
  readonly from: Buffer;
  /** Of the new name; of the old one when the rules make no valid name of it. */
  readonly route: Route;
  readonly outcome: RenamingOutcome;
}

export type RenamingOutcome = 'same' | 'renamed' | 'refused';

/** Longest time that one client may take for retained messages before others have their turn, ms. */
const retainedTurnMs = 5;

export class ClientState implements Link {
  readonly host: ClientHost;
  readonly connection: Connection;
  phase: number = Phase.STRANGER;
  level: ProtocolLevel = 4;
  layout: 4 | 5 = 4;
  session: Session | null = null;
  /** What the client may do; null before it was let in. */
  permissions: Permissions | null = null;
  /** How the broker names what belongs to its tenant; null in the default tenant, and before it was let in. */
  names: TenantNames | null = null;
  /** Rules that rename its topics; null when there are none. */
  rewrite: TopicRewrite | null = null;
  /** Method of enhanced authentication that CONNECT named. */
  method: string | undefined = undefined;
  /** A login under way. */
  login: Login | null = null;
  packetBytesMax = Number.MAX_SAFE_INTEGER;
  /** Largest packet that is taken from the client. */
  inputBytesMax: number;
  /** What the client holds of the limits since it was let in. */
  place: ClientPlace | null = null;
  /** Null: it may publish as fast as it can. */
  meter: PublishMeter | null = null;
  /** It publishes faster than it may and is not read for a moment. */
  isMetered = false;
  aliases: OutgoingAliases | null = null;
  /** Topics that the client gave an alias. */
  aliasRoutes: Map<number, Route> | null = null;
  /** Work that was done for this client in this turn beyond what its input would explain, see `Client`. */
  workBytes = 0;
  /** Route of the latest publication: publishers repeat their topics. */
  route: Route | null = null;
  /** What placeholders of the settings stand for: `clientid`, `username` and `host`. Set by CONNECT. */
  values: ClientValues = () => undefined;
  /** The topic that the client published to last, when rules rename topics, and what became of it. */
  renaming: Renaming | null = null;
  /** Exclusive filters that other workers are being asked about; null for nearly every client. */
  claimed: Set<string> | null = null;
  /** The client asked for no reason strings and user properties [MQTT-3.1.2-29]. */
  wantsProblemInformation = true;
  /** Null when no retained message waits for its turn. */
  pendingRetained: RetainedReplay | null = null;
  private isRetainedDue = false;
  /** Cleared by a DISCONNECT without a will [MQTT-3.14.4-3]. */
  endsWithWill = true;
  /** Its session is being looked for, or stored. */
  isWaitingForSession = false;
  /** Subscriptions are being stored: what the client sent behind them, such as DISCONNECT, waits for that. */
  isStoring = false;
  /** Acknowledgements that wait for the disk; null until the first one does. */
  pendingAnswers: PendingAnswers | null = null;
  /** Packets received since the timer looked last; keep-alive wants at least one. */
  receivedTick = 0;
  keepAliveMs = 0;
  /** Unix time of CONNACK, ms. */
  connectedAtMs = 0;
  /** CONNECT's time limit first, keep-alive afterwards. */
  readonly timer: WheelTimer;

  constructor(host: ClientHost, connection: Connection) {
    this.host = host;
    this.connection = connection;
    this.inputBytesMax = host.settings.packetBytesMax;
    this.timer = new WheelTimer(() => this.onTimer());
    host.timers.start(this.timer, connection.listener.handshakeTimeoutMs ?? host.handshakeTimeoutMs);
  }

  get hasPendingRetained(): boolean {
    return this.pendingRetained !== null;
  }

  /** [MQTT-3.1.2-22] a client that is silent for one and a half times its keep-alive is cut. */
  startKeepAlive(keepAliveS: number): void {
    this.keepAliveMs = keepAliveS * 1500;
    if (this.keepAliveMs === 0) this.host.timers.cancel(this.timer);
    else this.host.timers.start(this.timer, this.keepAliveMs);
  }

  private onTimer(): void {
    if (this.isWaitingForSession && !this.connection.closed) {
      // The storage does not answer.
      this.send(generateConnack({ sessionPresent: false, reasonCode: ReasonCode.SERVER_UNAVAILABLE }, this.level));
      this.connection.close('refused');
      return;
    }
    if (this.phase !== Phase.CONNECTED) {
      this.connection.destroy('handshake-timeout');
      return;
    }
    const { timers } = this.host;
    const silentMs = (timers.tick - this.receivedTick) * timers.tickMs;
    if (silentMs >= this.keepAliveMs) this.end(ReasonCode.KEEP_ALIVE_TIMEOUT, 'keep-alive');
    else timers.start(this.timer, this.keepAliveMs - silentMs);
  }

  /**
   * Sends a packet that was generated as a whole. An answer that is too large for the client can be left out as little
   * as it can be sent [MQTT-3.1.2-24], so that the connection ends.
   */
  send(packet: Buffer): void {
    if (this.connection.closed || packet.length === 0) return;
    if (packet.length > this.packetBytesMax) {
      this.fail(ReasonCode.PACKET_TOO_LARGE, 'An answer is larger than the Maximum Packet Size of the client');
      return;
    }
    this.connection.write(packet, 0, packet.length);
    this.host.metrics.countSent(packet[0] >> 4, 1);
  }

  /** Tells `answer` when the subscriptions of a kept session are stored, 0, or the reason why not. Nothing is read until then. */
  whenStored(session: Session, answer: (reasonCode: number) => void): void {
    this.isStoring = true;
    this.connection.pauseReading();
    this.host.registry.kept?.whenStored(session, (reasonCode) => {
      this.isStoring = false;
      answer(reasonCode);
      if (!this.connection.closed) this.connection.resumeReading();
    });
  }

  adopt(permissions: Permissions): void {
    this.permissions = permissions;
  }

  /** Only a DISCONNECT can say so, and only since MQTT 5; others notice that nothing comes. */
  revoked(subscriptions: readonly MqttSubscription[]): void {
    for (const { filter } of subscriptions) this.pendingRetained?.drop(filter);
    const isTold = this.host.access.revokedSubscription === 'tell' && this.level === 5;
    if (isTold) this.end(ReasonCode.NOT_AUTHORIZED, 'administrator');
  }

  end(reasonCode: number, reason: CloseReason): void {
    if (this.connection.closed) return;
    if (this.phase === Phase.CONNECTED && this.level === 5) this.send(generateDisconnect({ reasonCode }, 5));
    this.connection.close(reason);
  }

  /** The client broke the rules: it is told as its version allows, and the connection ends [MQTT-4.13.1-1]. */
  fail(reasonCode: number, detail = reasonName(reasonCode)): void {
    if (this.connection.closed) return;
    const { remoteAddress, remotePort } = this.connection;
    this.host.log.info('Connection refused a packet', {
      clientId: this.permissions?.identity.clientId,
      remoteAddress,
      remotePort,
      detail,
    });
    if (this.phase === Phase.CONNECTED && this.level === 5) {
      const reasonString = this.wantsProblemInformation ? detail : undefined;
      const packet = generateDisconnect({ reasonCode, reasonString }, 5);
      // [MQTT-3.14.2-3] the reason string is left out where it would make the packet too large.
      this.send(packet.length <= this.packetBytesMax ? packet : generateDisconnect({ reasonCode }, 5));
    }
    this.connection.close('protocol-error');
  }

  /** Sends retained messages that wait, as far as the output, the window and this turn allow. */
  sendPendingRetained(): void {
    const { pendingRetained: pending, session, host } = this;
    // One turn of work for each turn of the loop, however many packets ask for it.
    if (pending === null || session === null || this.isRetainedDue || this.connection.closed) return;
    const { retained } = host.router;
    if (!retained.isLoaded) {
      this.isRetainedDue = true;
      retained.whenLoaded(() => {
        this.isRetainedDue = false;
        this.continueRetained();
      });
      return;
    }
    const startMs = performance.now();
    const nowMs = Date.now();
    for (let step = 1; ; step++) {
      const { due } = pending;
      if (due === null) {
        if (!pending.advance(nowMs)) {
          this.pendingRetained = null;
          // What waited for the end of it.
          host.delivery.pump(session);
          session.feeds?.pump();
          return;
        }
      } else {
        // Goes on when the output has drained, or the window has room again.
        if (!host.delivery.deliverRetained(session, this, due)) return;
        pending.sent();
      }
      // A look at the clock for each stretch that was passed over, and for some of the messages.
      const isCheap = (due !== null || pending.due !== null) && step % 64 !== 0;
      if (isCheap || performance.now() - startMs < retainedTurnMs) continue;
      this.continueLater();
      return;
    }
  }

  private continueLater(): void {
    if (this.isRetainedDue) return;
    this.isRetainedDue = true;
    setImmediate(() => {
      this.isRetainedDue = false;
      this.continueRetained();
    });
  }

  /** In a later turn, or when there is room: what waits in the session was there first. */
  continueRetained(): void {
    const { session, host } = this;
    if (session === null || this.connection.closed) return;
    host.delivery.pump(session);
    this.sendPendingRetained();
  }

  /** A live message of this topic is about to be delivered to these subscriptions: their older retained message goes first. */
  sendRetainedBefore(topic: string, subscriptions: readonly MqttSubscription[], qos: number): void {
    const { pendingRetained: pending, session, host } = this;
    if (pending === null || session === null || this.connection.closed) return;
    const isDropped = qos === 0 && host.delivery.isFull(this);
    for (const { filter } of subscriptions) {
      if (isDropped) {
        pending.missed(topic, filter);
        continue;
      }
      const message = pending.takeAhead(topic, filter);
      if (message !== null) host.delivery.deliverRetainedAhead(session, this, message);
    }
  }

  countReceived(type: number, count = 1): void {
    this.host.metrics.countReceived(type, count);
  }
}
