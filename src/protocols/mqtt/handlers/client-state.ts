/**
 * One MQTT connection: what its handlers share. Thread: the connection's worker.
 *
 * Phases: a stranger may send CONNECT only; then it is found out who it is and the session is claimed, during which nothing
 * is read but AUTH where the method needs it; then the client is connected. `end` and `fail` are the only ways in which handlers finish a connection.
 */
import type { Route } from '../../../core/broker/route.ts';
import type { Router } from '../../../core/broker/router.ts';
import type { AccessControl, Login, Permissions } from '../../../core/ports/access.ts';
import type { CloseReason, Connection } from '../../../core/ports/connection.ts';
import type { ClientValues, TopicRewrite } from '../../../core/routing/topic-rewrite.ts';
import type { Logger } from '../../../observability/log.ts';
import { type TimingWheel, WheelTimer } from '../../../std/timing-wheel.ts';
import type { ProtocolLevel } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Delivery, RetainedDelivery } from '../delivery/delivery.ts';
import { reasonName } from '../errors.ts';
import type { MqttMetrics } from '../metrics.ts';
import { generateDisconnect } from '../packets/generate.ts';
import type { MqttSettings } from '../settings.ts';
import type { OutgoingAliases } from '../state/outgoing-aliases.ts';
import type { RetainedReplay } from '../state/retained-replay.ts';
import type { Link, Session } from '../state/session.ts';
import type { MqttSubscription } from '../state/subscription.ts';
import type { OwnPublisher } from './own-publisher.ts';
import type { SessionRegistry } from './session-registry.ts';

/** What all connections of a worker share. */
export interface ClientHost {
  readonly router: Router;
  readonly registry: SessionRegistry;
  readonly delivery: Delivery;
  readonly access: AccessControl;
  readonly ownPublisher: OwnPublisher;
  readonly metrics: MqttMetrics;
  readonly timers: TimingWheel;
  readonly settings: MqttSettings;
  /** Null when there are no rules: nothing is renamed. */
  readonly rewrite: TopicRewrite | null;
  readonly log: Logger;
  readonly handshakeTimeoutMs: number;
  /** No new clients: the worker drains. */
  isDraining: boolean;
}

export const Phase = { STRANGER: 0, CLAIMING: 1, CONNECTED: 2, ENDED: 3, AUTHENTICATING: 4 } as const;

/** A subscription whose retained messages are to be sent. */
export interface RetainedRequest {
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  /** Subscription identifier, 0 for none. */
  readonly identifier: number;
}

/** What the rewrite rules make of a topic. */
export interface Renaming {
  readonly from: Buffer;
  /** Of the new name; of the old one when the rules make no valid name of it. */
  readonly route: Route;
  readonly outcome: RenamingOutcome;
}

export type RenamingOutcome = 'same' | 'renamed' | 'refused';

export type PendingRetained = RetainedReplay<RetainedRequest, RetainedDelivery>;

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
  /** Method of enhanced authentication that CONNECT named. */
  method: string | undefined = undefined;
  /** A login under way. */
  login: Login | null = null;
  packetBytesMax = Number.MAX_SAFE_INTEGER;
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
  pendingRetained: PendingRetained | null = null;
  /** Cleared by a DISCONNECT without a will [MQTT-3.14.4-3]. */
  endsWithWill = true;
  /** Packets received since the timer looked last; keep-alive wants at least one. */
  receivedTick = 0;
  keepAliveMs = 0;
  /** CONNECT's time limit first, keep-alive afterwards. */
  readonly timer: WheelTimer;

  constructor(host: ClientHost, connection: Connection) {
    this.host = host;
    this.connection = connection;
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

  adopt(permissions: Permissions): void {
    this.permissions = permissions;
  }

  /** Only a DISCONNECT can say so, and only since MQTT 5; others notice that nothing comes. */
  revoked(subscriptions: readonly MqttSubscription[]): void {
    this.pendingRetained?.drop((request) => subscriptions.some(({ filter }) => filter === request.filter));
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
      clientId: this.session?.clientId,
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

  /** Sends retained messages that wait, as far as the output and this turn allow. */
  sendPendingRetained(): void {
    const { pendingRetained: pending, session, host } = this;
    if (pending === null || session === null || this.connection.closed) return;
    const limitMs = performance.now() + retainedTurnMs;
    this.pendingRetained = null; // So that messages of QoS 1 and 2 may be sent meanwhile.
    for (let step = 1; ; step++) {
      const { due } = pending;
      if (due === undefined) {
        if (!pending.lookUp()) return;
      } else {
        if (!host.delivery.deliverRetained(session, this, due)) break; // Goes on when the output has drained.
        pending.sent();
      }
      const isCheap = due !== undefined && step % 64 !== 0;
      if (isCheap || performance.now() < limitMs) continue;
      setImmediate(() => this.continueRetained());
      break;
    }
    this.pendingRetained = pending;
  }

  /** In a later turn: others had theirs meanwhile. */
  continueRetained(): void {
    const { session } = this;
    if (session === null || this.connection.closed) return;
    this.sendPendingRetained();
    if (this.pendingRetained === null) this.host.delivery.pump(session);
  }

  countReceived(type: number, count = 1): void {
    this.host.metrics.countReceived(type, count);
  }
}
