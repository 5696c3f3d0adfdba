/**
 * The handler of one MQTT connection: finds the frames in what arrives and calls who handles each packet.
 * Thread: the connection's worker.
 */
import type { CloseReason, Connection, ConnectionHandler } from '../../../core/ports/connection.ts';
import type { LimitKind } from '../../../observability/limit-metrics.ts';
import { frameLength, PacketType } from '../codec/frame.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import { publishMetered } from '../limits/metering.ts';
import { parsePacket } from '../packets/parse.ts';
import type { DisconnectPacket } from '../packets/types.ts';
import type { Session } from '../state/session.ts';
import { onAcknowledgement } from './acknowledging.ts';
import { onAuthenticatingFrame, onReauthentication } from './authenticating.ts';
import { type ClientHost, ClientState, Phase } from './client-state.ts';
import { onConnect } from './connecting.ts';
import type { Publishing } from './publishing.ts';
import { onSubscribe, onUnsubscribe } from './subscribing.ts';

const pingresp = Buffer.from([0xd0, 0]);

/** Work of one client in one turn: bytes of publications that were short packets with an alias, and rare packets. */
const workBytesMax = 1_048_576;
/** What a rare packet costs, as bytes of publications. */
const rarePacketWorkBytes = 2_048;

export class Client extends ClientState implements ConnectionHandler {
  private readonly publishing: Publishing;
  private isHeldBack = false;

  constructor(host: ClientHost, connection: Connection, publishing: Publishing) {
    super(host, connection);
    this.publishing = publishing;
  }

  onData(buffer: Buffer, start: number, end: number): number {
    this.receivedTick = this.host.timers.tick;
    this.workBytes = 0;
    let position = start;
    while (position < end) {
      const length = frameLength(buffer, position, end);
      if (length === -1) break;
      if (length === -2) {
        this.fail(ReasonCode.MALFORMED_PACKET);
        return end;
      }
      if (!this.isAcceptable(buffer[position] >> 4, length)) return end;
      const frameEnd = position + length;
      if (frameEnd > end) break;
      const next = this.onFrame(buffer, position, frameEnd, end);
      if (this.connection.closed) return end;
      if (next === position) break; // Held back: presented again when other workers have caught up.
      position = next;
      // Reading goes on when the session is there, or its subscriptions are stored.
      if (this.phase === Phase.CLAIMING || this.isStoring) break;
      if (this.workBytes > workBytesMax) {
        this.yieldTurn();
        break;
      }
    }
    if (this.mustHoldBack()) this.holdBack();
    return position;
  }

  /** Little input can be much work: the rest of it has its turn after the others had theirs. */
  private yieldTurn(): void {
    this.connection.pauseReading();
    this.connection.resumeReading();
  }

  /** The client does not read what answers it: nothing more is read from it either, or the answers would never end. */
  private mustHoldBack(): boolean {
    return this.host.delivery.isOverfull(this);
  }

  private holdBack(): void {
    this.isHeldBack = true;
    this.connection.pauseReading();
  }

  private releaseHold(): void {
    if (!this.isHeldBack || this.mustHoldBack()) return;
    this.isHeldBack = false;
    this.connection.resumeReading();
  }

  override continueRetained(): void {
    super.continueRetained();
    this.releaseHold();
  }

  /** Looks at type and length before the whole frame is here, so that nobody makes the broker keep what it will refuse. */
  private isAcceptable(type: number, length: number): boolean {
    const { settings } = this.host;
    if (this.phase === Phase.STRANGER) {
      if (type !== PacketType.CONNECT)
        this.fail(ReasonCode.PROTOCOL_ERROR, 'The first packet is not CONNECT'); // [MQTT-3.1.0-1]
      else if (length > settings.connectBytesMax) this.refuseSize('handshake-bytes');
      else return true;
      return false;
    }
    const isLoggingIn = this.phase === Phase.AUTHENTICATING;
    const bytesMax = isLoggingIn ? settings.connectBytesMax : this.inputBytesMax;
    if (length <= bytesMax) return true;
    this.refuseSize(isLoggingIn ? 'handshake-bytes' : 'packet-bytes'); // [MQTT-3.2.2-15]
    return false;
  }

  private refuseSize(limit: LimitKind): void {
    this.host.limits.exceeded(limit);
    this.fail(ReasonCode.PACKET_TOO_LARGE);
  }

  /** Answers the offset of the next frame, or `position` when this one has to wait. */
  private onFrame(buffer: Buffer, position: number, frameEnd: number, end: number): number {
    const type = buffer[position] >> 4;
    if (this.phase === Phase.STRANGER) {
      this.countReceived(type);
      onConnect(this, buffer.subarray(position, frameEnd));
      return frameEnd;
    }
    if (this.phase === Phase.AUTHENTICATING) {
      onAuthenticatingFrame(this, buffer.subarray(position, frameEnd));
      return frameEnd;
    }
    switch (type) {
      case PacketType.PUBLISH:
        return this.meter === null
          ? this.publishing.onPublish(this, buffer, position, frameEnd, end)
          : publishMetered(this, this.meter, this.publishing, buffer, position, frameEnd, end);
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBREL:
      case PacketType.PUBCOMP:
        onAcknowledgement(this, type, buffer, position, frameEnd);
        return frameEnd;
      default:
        this.onRarePacket(type, buffer.subarray(position, frameEnd));
        return frameEnd;
    }
  }

  private onRarePacket(type: number, frame: Buffer): void {
    this.workBytes += rarePacketWorkBytes;
    const { session } = this;
    const result = parsePacket(frame, this.level);
    if (result.packet === undefined || session === null) {
      this.fail(result.packet === undefined ? result.reasonCode : ReasonCode.PROTOCOL_ERROR);
      return;
    }
    this.countReceived(type);
    const { packet } = result;
    switch (packet.type) {
      case PacketType.PINGREQ:
        this.send(pingresp); // [MQTT-3.12.4-1]
        return;
      case PacketType.SUBSCRIBE:
        onSubscribe(this, session, packet);
        return;
      case PacketType.UNSUBSCRIBE:
        onUnsubscribe(this, session, packet);
        return;
      case PacketType.DISCONNECT:
        this.onDisconnect(session, packet);
        return;
      case PacketType.AUTH:
        onReauthentication(this, packet);
        return;
      default:
        // A second CONNECT [MQTT-3.1.0-2].
        this.fail(ReasonCode.PROTOCOL_ERROR);
    }
  }

  /** Section 3.14: the client leaves; only reason code 0x04 asks for its will [MQTT-3.14.4-3]. */
  private onDisconnect(session: Session, packet: DisconnectPacket): void {
    const { sessionExpiryS } = packet;
    if (sessionExpiryS !== undefined) {
      // "It is a Protocol Error to set a non-zero Session Expiry Interval" after zero in CONNECT (3.14.2.2.2).
      if (session.expiryS === 0 && sessionExpiryS > 0) {
        this.fail(ReasonCode.PROTOCOL_ERROR);
        return;
      }
      session.expiryS = Math.min(sessionExpiryS, this.host.settings.sessionExpiryMaxS);
    }
    this.endsWithWill = packet.reasonCode === ReasonCode.DISCONNECT_WITH_WILL;
    this.connection.close('client');
  }

  onDrain(): void {
    this.releaseHold();
    const { session } = this;
    if (session === null) return;
    if (this.pendingRetained !== null) this.continueRetained();
    else this.host.delivery.pump(session);
    session.feeds?.pump();
    session.shares?.pump();
  }

  onClose(reason: CloseReason): void {
    this.phase = Phase.ENDED;
    this.host.timers.cancel(this.timer);
    this.pendingRetained = null;
    this.pendingAnswers?.clear();
    this.login?.cancel();
    this.login = null;
    this.place?.leave();
    this.place = null;
    const { session } = this;
    this.host.system.events.disconnected(this, reason, !this.endsWithWill);
    if (session !== null) this.host.delivery.slow?.forget(session);
    // When the broker itself goes down, nobody is left to read a will, unless sessions outlive it.
    const hasReaders = reason !== 'shutdown' || session?.isKept === true;
    if (session !== null) this.host.registry.closed(session, this, this.endsWithWill && hasReaders);
    this.session = null;
  }
}
