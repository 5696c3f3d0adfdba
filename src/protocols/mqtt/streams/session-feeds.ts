/** The subscriptions to streams of one session, as the rest of the protocol sees them. Types only; connection workers. */

export interface SessionFeeds {
  /** SUBACK is on its way: records may follow it. */
  begin(): void;
  /** The client has acknowledged a packet, and there may be room for more. */
  acknowledged(packetId: number): void;
  /** There may be room for more. */
  pump(): void;
  /** The subscription ended. Answers whether there was one that is still being opened, or open. */
  unsubscribed(path: string): boolean;
  /** The client is gone; the session may go on. */
  detach(): void;
  /** The session leaves the memory of this worker. */
  close(): void;
}
