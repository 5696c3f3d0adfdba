/**
 * A message that a session keeps: waiting for room, for the client to come back, or for its acknowledgement. Pure data
 * (it crosses threads when a session moves). The bytes are shared by all sessions that keep the same publication.
 */

export interface StoredMessage {
  /** 4 for MQTT 3.1 and 3.1.1, 5 for MQTT 5.0: how the frame is encoded. */
  readonly layout: 4 | 5;
  /** Holds the publisher's frame at `[start, end)`. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly qos: 1 | 2;
  readonly retain: number;
  /** Encoded subscription identifiers, or null. */
  readonly identifiers: Uint8Array | null;
  /** Unix time in ms after which it is not delivered any more [MQTT-3.3.2-5]; 0 for never. */
  readonly expiresAtMs: number;
  /** Path of the shared subscription that it was given for: another member may take it over. Null for others. */
  readonly share: string | null;
  /** Routing epoch at which it was routed, see `SessionOwner.releaseSession`. */
  readonly epoch: number;
}
