/** One subscription of a session, with the options of section 3.8.3.1. On the session's worker. */
import { type Subscriber, Subscription } from '../../../core/broker/route.ts';

export interface SubscriptionOptions {
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** 0 for none. */
  readonly identifier: number;
}

export class MqttSubscription extends Subscription {
  /** The filter as the client wrote it, its key in the session: `$share/group/` included. */
  readonly path: string;
  options: SubscriptionOptions;
  /** Membership in a shared group, or 0. */
  memberId = 0;

  constructor(path: string, filter: string, subscriber: Subscriber, options: SubscriptionOptions) {
    super(filter, subscriber);
    this.path = path;
    this.options = options;
  }
}
