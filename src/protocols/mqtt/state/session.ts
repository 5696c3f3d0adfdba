/**
 * The state of one client that outlives its connection (section 4.1): subscriptions, messages in flight and waiting,
 * QoS 2 identifiers received. Thread: the worker that owns the session; all limits are enforced by its users.
 *
 * A session that ends with its connection lives here alone. One that outlives it is *kept*: what is published with QoS 1 and 2 reaches it
 * through the message logs (`core/sessions`), which know its subscriptions and what is in flight. Here it has what comes live: QoS 0,
 * retained messages and those of shared subscriptions, whose packet identifiers lie above those of the logs.
 */

import type { TenantCount } from '../../../core/limits/tenant-counts.ts';
import type { Permissions } from '../../../core/ports/access.ts';
import type { CloseReason, Connection } from '../../../core/ports/connection.ts';
import { keptPacketIdMax } from '../../../core/ports/session-slots.ts';
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import type { WheelTimer } from '../../../std/timing-wheel.ts';
import type { ProtocolLevel } from '../codec/frame.ts';
import type { Will } from '../packets/types.ts';
import type { SessionFeeds } from '../streams/session-feeds.ts';
import type { MessageQueue } from './message-queue.ts';
import type { OutgoingAliases } from './outgoing-aliases.ts';
import { OutgoingWindow } from './outgoing-window.ts';
import { PacketIdSet } from './packet-id-set.ts';
import type { MqttSubscription } from './subscription.ts';

/** The connected client as deliveries see it. */
/** The part of a connection that delivery writes to. */
export type LinkOutput = Pick<Connection, 'closed' | 'outputBytes' | 'outputBuffer' | 'write' | 'reserve'>;

export interface Link {
  readonly connection: LinkOutput;
  readonly level: ProtocolLevel;
  readonly layout: 4 | 5;
  /** Absent or null where nobody has to know whose link it is. */
  readonly session?: Session | null;
  /** The client's Maximum Packet Size, or the largest number there is. */
  readonly packetBytesMax: number;
  /** Null when the client allows no topic aliases. */
  readonly aliases: OutgoingAliases | null;
  /** Retained messages wait for their turn, see `sendRetainedBefore`. */
  readonly hasPendingRetained: boolean;
  /**
   * A live message of `topic` is about to be delivered to these subscriptions with `qos`: older retained messages of the topic go
   * first. To be called while `hasPendingRetained`.
   */
  sendRetainedBefore(topic: string, subscriptions: readonly MqttSubscription[], qos: number): void;
  /** Ends the connection, for an MQTT 5 client with a DISCONNECT that says why. */
  end(reasonCode: number, reason: CloseReason): void;
  /** What the client may do was replaced. */
  adopt(permissions: Permissions): void;
  /** Subscriptions ended because rules deny them now; the client is told as the settings say. */
  revoked(subscriptions: readonly MqttSubscription[]): void;
}

/** The places of a session in memory in shared groups that are kept, see `durable/session-shares.ts`. */
export interface SharePlaces {
  /** The client has, or refuses, a message. */
  acknowledged(packetId: number): void;
  /** The client has a message of QoS 2: `stored` is called when it may be released. False: it is none of a kept group. */
  received(packetId: number, stored: () => void): boolean;
  /** There may be room. */
  pump(): void;
}

/** "The Session does not expire" (3.1.2.11.2). */
export const neverExpires = 0xffffffff;

/** Packet identifiers that a kept session has for what does not come from the logs. */
const liveWindowMax = 65_535 - keptPacketIdMax;

export class Session {
  readonly clientId: string;
  /** Null while the client is away. */
  link: Link | null = null;
  /** Seconds that the session outlives its connection; 0: it ends with it. */
  expiryS = 0;
  readonly subscriptions = new Map<string, MqttSubscription>();
  /** Where they count for the tenant; null: nowhere. */
  subscriptionCount: TenantCount | null = null;
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
  /** Its subscriptions to streams; null for nearly every session. */
  feeds: SessionFeeds | null = null;
  /** Its places in shared groups that are kept, when it is in memory alone; null for nearly every session. */
  shares: SharePlaces | null = null;
  /** Runs while the client is away. */
  expiryTimer: WheelTimer | null = null;
  /** Runs while the will is delayed. */
  willTimer: WheelTimer | null = null;

  /** It is stored: messages of QoS 1 and 2 come from the message logs, except those of shared subscriptions. */
  readonly isKept: boolean;
  /** Its side in the logs while a client is connected. */
  online: OnlineSession | null = null;
  /** How many of its subscriptions have QoS 0 and an identifier: the logs do not know them. */
  lowIdentifiers = 0;
  /** Largest number of messages in flight, from the logs and from here together. */
  inflightMax: number;

  constructor(clientId: string, inflightMax: number, isKept = false) {
    this.clientId = clientId;
    this.isKept = isKept;
    this.inflightMax = inflightMax;
    this.window = isKept
      ? new OutgoingWindow(Math.min(inflightMax, liveWindowMax), keptPacketIdMax + 1)
      : new OutgoingWindow(inflightMax);
  }

  limitWindow(inflightMax: number): void {
    this.inflightMax = inflightMax;
    this.window.limit = this.isKept ? Math.min(inflightMax, liveWindowMax) : inflightMax;
  }

  /** How many messages more may be in flight that do not come from the logs. */
  get room(): number {
    const { online, window } = this;
    return online === null ? window.room : Math.min(window.room, this.inflightMax - window.used - online.flightCount);
  }

  /** Whether messages must be kept until they are acknowledged, since the session outlives the connection. */
  get keepsMessages(): boolean {
    return this.expiryS > 0;
  }

  get queueLength(): number {
    return this.queue === null ? 0 : this.queue.length;
  }
}
