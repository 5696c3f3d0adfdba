/** SUBSCRIBE to `$stream/…`. Thread: the connection's worker. */
import { ReasonCode } from '../codec/reason-code.ts';
import type { ClientState } from '../handlers/client-state.ts';
import type { Subscription as Requested, UserProperties } from '../packets/types.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { knownPath } from '../state/subscription-path.ts';
import { fromOfProperties } from './stream-path.ts';

/**
 * Subscribes to a stream that the client may read. `done` is told, not inside of the call, the granted QoS, or why it is refused; not when
 * the client has gone meanwhile.
 */
export function subscribeToStream(
  client: ClientState,
  session: Session,
  requested: Requested,
  identifier: number,
  properties: UserProperties,
  done: (reasonCode: number) => void,
): void {
  const { host } = client;
  const { qos, noLocal, retainAsPublished, retainHandling, filter: path } = requested;
  const options: SubscriptionOptions = { qos, noLocal, retainAsPublished, retainHandling, identifier };
  const from = fromOfProperties(properties);
  if (from === null) {
    queueMicrotask(() => done(ReasonCode.TOPIC_FILTER_INVALID));
    return;
  }
  void host.streams.subscribe(session, path, options, from).then((reasonCode) => {
    if (client.session !== session) {
      // Nobody will know of it: the session did not get the subscription.
      if (!session.subscriptions.has(path)) session.feeds?.unsubscribed(path);
      return;
    }
    if (reasonCode >= 0x80) {
      done(reasonCode);
      return;
    }
    const isNew = host.registry.subscribe(session, path, null, knownPath(path).filter, options, () => done(reasonCode));
    host.system.events.subscribed(client, path, options, isNew);
  });
}
