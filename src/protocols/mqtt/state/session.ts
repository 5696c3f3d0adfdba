/**
 * The state of one client that outlives its connection (section 4.1): subscriptions, messages in flight and waiting,
 * QoS 2 identifiers received. Thread: the worker that owns the session; all limits are enforced by its users.
 *
 * Sessions live in memory. What has to be kept on disk later is exactly what `session-transfer.ts` writes down.
 */
import type { Permissions } from '../../../core/ports/access.ts';
import type { CloseReason, Connection } from '../../../core/ports/connection.ts';
import type { WheelTimer } from '../../../std/timing-wheel.ts';
import type { ProtocolLevel } from '../codec/frame.ts';
import type { Will } from '../packets/types.ts';
import type { MessageQueue } from './message-queue.ts';
import type { OutgoingAliases } from './outgoing-aliases.ts';
import { OutgoingWindow } from './outgoing-window.ts';
import { PacketIdSet } from './packet-id-set.ts';
import type { MqttSubscription } from './subscription.ts';

/** The connected client as deliveries see it. */
export interface Link {
  readonly connection: Connection;
  readonly level: ProtocolLevel;
  readonly layout: 4 | 5;
  /** The client's Maximum Packet Size, or the largest number there is. */
  readonly packetBytesMax: number;
  /** Null when the client allows no topic aliases. */
  readonly aliases: OutgoingAliases | null;
  /** Retained messages wait for room in the output: new ones line up behind them. */
  readonly hasPendingRetained: boolean;
  /** Ends the connection, for an MQTT 5 client with a DISCONNECT that says why. */
  end(reasonCode: number, reason: CloseReason): void;
  /** What the client may do was replaced. */
  adopt(permissions: Permissions): void;
  /** Subscriptions ended because rules deny them now; the client is told as the settings say. */
  revoked(subscriptions: readonly MqttSubscription[]): void;
}

/** "The Session does not expire" (3.1.2.11.2). */
export const neverExpires = 0xffffffff;

export class Session {
  readonly clientId: string;
  /** Null while the client is away. */
  link: Link | null = null;
  /** Seconds that the session outlives its connection; 0: it ends with it. */
  expiryS = 0;
  readonly subscriptions = new Map<string, MqttSubscription>();
  readonly window: OutgoingWindow;
  /** Identifiers in flight that this connection has not been sent yet, since its Receive Maximum is smaller; oldest first. */
  unsent: number[] | null = null;
  queue: MessageQueue | null = null;
  readonly receivedIds = new PacketIdSet();
  will: Will | null = null;
  /** Of the client that had it last, for what happens while it is away; null before the first one. */
  permissions: Permissions | null = null;
  /** Publications that were routed before this epoch are the former owner's; -1 when there was none. */
  epochFloor = -1;
  /** Runs while the client is away. */
  expiryTimer: WheelTimer | null = null;
  /** Runs while the will is delayed. */
  willTimer: WheelTimer | null = null;

  constructor(clientId: string, inflightMax: number) {
    this.clientId = clientId;
    this.window = new OutgoingWindow(inflightMax);
  }

  /** Whether messages must be kept until they are acknowledged, since the session outlives the connection. */
  get keepsMessages(): boolean {
    return this.expiryS > 0;
  }

  get queueLength(): number {
    return this.queue === null ? 0 : this.queue.length;
  }
}
