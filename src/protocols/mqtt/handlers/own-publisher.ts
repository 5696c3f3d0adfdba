/**
 * Publishes messages that did not come as a PUBLISH of a connected client: wills, and what the broker says or passes on itself. One per
 * worker. Rules are for the caller to ask; nobody can be held back, so what waits for room is bounded by the router.
 * Thread: connection workers.
 */
import type { Router } from '../../../core/broker/router.ts';
import { Run } from '../../../core/broker/run.ts';
import { fillRunWithFrame } from '../delivery/run-of-frame.ts';
import { generatePublish } from '../packets/generate.ts';
import type { MessageProperties } from '../packets/types.ts';
import type { Session } from '../state/session.ts';

export interface OwnMessage {
  /** A valid topic name. */
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly properties: MessageProperties;
  /** Whose message it is, for "no local"; null for the broker's own. */
  readonly publisher: Session | null;
}

export class OwnPublisher {
  private readonly router: Router;
  private readonly run = new Run();

  constructor(router: Router) {
    this.router = router;
  }

  /** `done` is told, not inside of the call, when a publisher of this message could be sent its acknowledgement, or why it could not. */
  publish(message: OwnMessage, done?: (error: Error | null) => void): void {
    const { topic, payload, qos, retain, properties } = message;
    const frame = generatePublish({ topic, payload, qos, retain, packetId: qos === 0 ? 0 : 1, properties }, 5);
    if (retain) {
      const expiresAtS = properties.expiryS === undefined ? 0 : Math.ceil(Date.now() / 1000) + properties.expiryS;
      this.router.retainOwned(topic, this.fill(frame, message), payload.length === 0, expiresAtS);
    }
    this.router.publishOwned(topic, this.fill(frame, message));
    if (done !== undefined) queueMicrotask(() => done(null));
  }

  private fill(frame: Buffer, { publisher }: OwnMessage): Run {
    fillRunWithFrame(this.run, frame, 5);
    this.run.publisher = publisher;
    return this.run;
  }
}
