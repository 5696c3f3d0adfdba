/**
 * Shared subscriptions of which a stored session is a member: the group is kept in the message logs (`core/sessions/groups`), and gives what
 * is published with QoS 1 and 2 to one member at a time, to sessions in memory too. QoS 0 stays with the live groups of the router. One
 * per worker, on its thread.
 */
import type { Router } from '../../../core/broker/router.ts';
import type { SessionSlots } from '../../../core/ports/session-slots.ts';
import type { GroupSpec } from '../../../core/sessions/groups/durable-groups.ts';
import { groupKeyOf, groupNameOf } from '../../../core/sessions/groups/group-key.ts';
import type { MessageView } from '../../../core/sessions/message-record.ts';
import { hashBytes, hashString } from '../../../std/hash.ts';
import { PublishView } from '../codec/publish.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { hashOfProperty } from '../delivery/run-keys.ts';
import { strategyOf } from '../handlers/group-settings.ts';
import type { MqttSettings } from '../settings.ts';
import type { Session } from '../state/session.ts';
import type { SubscriptionOptions } from '../state/subscription.ts';
import { knownPath } from '../state/subscription-path.ts';
import { viewKept } from './kept-message.ts';
import { detailOf, type MembershipStore } from './kept-subscriptions.ts';
import { SessionShares } from './session-shares.ts';

export interface KeptGroupsOptions {
  readonly slots: SessionSlots;
  readonly router: Router;
  readonly delivery: Delivery;
  readonly settings: MqttSettings;
}

const view = new PublishView();

export class KeptGroups implements MembershipStore {
  readonly #options: KeptGroupsOptions;
  readonly #keyProperty: Buffer;
  /** Groups of the node that are kept. */
  readonly #kept = new Set<string>();
  /** Sessions in memory on this worker that are in a group, and under which path. */
  readonly #live = new Map<string, Map<Session, string>>();
  readonly #shares = new Map<Session, SessionShares>();

  constructor(options: KeptGroupsOptions) {
    this.#options = options;
    this.#keyProperty = Buffer.from(options.settings.sharedKeyProperty);
  }

  // ---- stored sessions

  /** Stores that a session is a member, or is none any more (`options` null). Rejects with SessionError. */
  async store(session: Session, path: string, options: SubscriptionOptions | null): Promise<void> {
    const { slots, settings } = this.#options;
    const { online, clientId } = session;
    const groups = slots.ownGroups;
    if (online === null || groups === null) return;
    if (options === null) await groups.leave(online, partsOf(path));
    else await groups.join(online, specOf(settings, clientId, path, options));
  }

  // ---- sessions in memory

  /** A session in memory has such a subscription, or other options of it. */
  joined(session: Session, path: string): void {
    const key = keyOf(path);
    const members = this.#live.get(key);
    if (members === undefined) this.#live.set(key, new Map([[session, path]]));
    else members.set(session, path);
    if (this.#kept.has(key)) this.#take(session, path);
  }

  left(session: Session, path: string): void {
    const key = keyOf(path);
    const members = this.#live.get(key);
    members?.delete(session);
    if (members?.size === 0) this.#live.delete(key);
    const shares = this.#shares.get(session);
    shares?.leave(path);
    if (shares?.isEmpty !== true) return;
    session.shares = null;
    this.#shares.delete(session);
  }

  /** The session ends. */
  ended(session: Session): void {
    this.#shares.get(session)?.close();
    this.#shares.delete(session);
    session.shares = null;
  }

  /** The slot of this worker was opened again: places in groups are new. */
  reopened(): void {
    for (const key of this.#kept) for (const [session, path] of this.#live.get(key) ?? []) this.#take(session, path);
  }

  groupIsKept(key: string, isKept: boolean): void {
    if (isKept) this.#kept.add(key);
    else this.#kept.delete(key);
    const { name, filter } = groupNameOf(key);
    this.#options.router.groups.setKept(name, filter, isKept);
    for (const [session, path] of this.#live.get(key) ?? []) {
      if (isKept) this.#take(session, path);
      else this.#shares.get(session)?.leave(path);
    }
  }

  /** Gets messages of the group from now on. What is published until then is kept for it. */
  #take(session: Session, path: string): void {
    const { slots, settings, delivery } = this.#options;
    slots.open().then(
      () => {
        const options = session.subscriptions.get(path)?.options;
        const groups = slots.ownGroups;
        if (options === undefined || groups === null || !this.#kept.has(keyOf(path))) return;
        const spec = specOf(settings, session.clientId, path, options);
        const shares = this.#shares.get(session) ?? new SessionShares(session, delivery);
        this.#shares.set(session, shares);
        session.shares = shares;
        shares.join(path, options, (link) => groups.joinTransient(session.clientId, spec, session.inflightMax, link));
      },
      // The slots tell what is wrong, open again, and `reopened` follows.
      () => undefined,
    );
  }

  // ---- keys

  /** See `DurableGroupsOptions.keyHashOf`: as `runKeys` for live groups. */
  keyHashOf(message: MessageView): number {
    viewKept(message, view);
    const { propertiesStart, propertiesLength, topicStart, topicLength } = view;
    const { bytes } = message;
    const found = hashOfProperty(bytes, propertiesStart, propertiesStart + propertiesLength, this.#keyProperty);
    return found ?? hashBytes(bytes, topicStart, topicStart + topicLength);
  }
}

function partsOf(path: string): { readonly name: string; readonly filter: string } {
  const { group, filter } = knownPath(path);
  return { name: group, filter };
}

function keyOf(path: string): string {
  const { name, filter } = partsOf(path);
  return groupKeyOf('', name, filter);
}

function specOf(settings: MqttSettings, clientId: string, path: string, options: SubscriptionOptions): GroupSpec {
  const { name, filter } = partsOf(path);
  const { qos, identifier } = options;
  const strategy = strategyOf(settings, name);
  return { name, filter, strategy, grade: qos, seed: hashString(clientId), detail: detailOf(options), identifier };
}
