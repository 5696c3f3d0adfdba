/**
 * New rules, accounts and blocks for sessions that are there: subscriptions that are denied now end, with what waits of them,
 * and clients that may not stay are cut. Thread: the worker of the sessions; one per worker.
 *
 * Identities are judged at once: it is a look into a map for each session. Subscriptions are looked at in slices between
 * other work, since there may be millions; a publication meets the new rules at once in any case.
 */
import type { AccessChange, AccessControl, Permissions } from '../../../core/ports/access.ts';
import { plainName } from '../../../core/tenants/tenant-names.ts';
import { decodePublish, PublishView } from '../codec/publish.ts';
import { ReasonCode } from '../codec/reason-code.ts';
import type { Session } from '../state/session.ts';
import type { StoredMessage } from '../state/stored-message.ts';
import type { MqttSubscription } from '../state/subscription.ts';
import { plainPath } from '../state/subscription-path.ts';

/** What it needs of the sessions of its worker. */
export interface PermissionHost {
  readonly access: AccessControl;
  sessionList(): readonly Session[];
  unsubscribe(session: Session, path: string): boolean;
}

/** Longest time that it takes before others have their turn, ms. */
const sliceMs = 5;

export class PermissionChanges {
  private readonly host: PermissionHost;
  /** Sessions that are still to be looked at; replaced when the rules change again. */
  private waiting: readonly Session[] = [];
  private next = 0;
  private isRunning = false;

  constructor(host: PermissionHost) {
    this.host = host;
    host.access.onChange((change) => this.apply(change));
  }

  private apply(change: AccessChange): void {
    const sessions = this.host.sessionList();
    let isAnyChanged = false;
    if (change.areIdentitiesTouched) {
      for (const session of sessions) if (this.judge(session, change)) isAnyChanged = true;
    }
    if (change.areRulesNew || isAnyChanged) this.start(sessions);
  }

  /** Whether the session goes on with other permissions. */
  private judge(session: Session, change: AccessChange): boolean {
    const { permissions, link } = session;
    if (permissions === null) return false;
    const verdict = change.judge(permissions);
    if (verdict.type === 'stays') return false;
    if (verdict.type === 'ends') {
      link?.end(ReasonCode.ADMINISTRATIVE_ACTION, 'administrator');
      return verdict.reason !== 'blocked'; // Without its account a session that stays behind loses its subscriptions.
    }
    session.permissions = verdict.permissions;
    link?.adopt(verdict.permissions);
    return true;
  }

  private start(sessions: readonly Session[]): void {
    this.waiting = sessions;
    this.next = 0;
    if (!this.isRunning) this.run();
  }

  private run(): void {
    const limitMs = performance.now() + sliceMs;
    this.isRunning = true;
    while (this.next < this.waiting.length) {
      const session = this.waiting[this.next++];
      const denied = recheck(this.host, session);
      if (denied.length > 0) session.link?.revoked(denied);
      if (this.next % 16 === 0 && performance.now() >= limitMs) {
        setImmediate(() => this.run());
        return;
      }
    }
    this.isRunning = false;
    this.waiting = [];
  }
}

/**
 * Ends what the session may not read any more. Called when rules changed, and when a client comes back to its session,
 * which may be another's (`isAnothers`) or from a time with other rules. Answers the subscriptions that ended.
 */
export function recheck(host: PermissionHost, session: Session, isAnothers = false): readonly MqttSubscription[] {
  const { permissions } = session;
  if (permissions === null) return [];
  const denied = [...session.subscriptions.values()].filter(
    ({ filter, options }) => !permissions.maySubscribe(plainName(filter), options.qos),
  );
  if (isAnothers) dropFlights(session, permissions);
  if (denied.length === 0 && !isAnothers) return denied;
  for (const { path } of denied) {
    host.unsubscribe(session, path);
    host.access.audit({ kind: 'subscription-revoked', identity: permissions.identity, subject: plainPath(path) });
  }
  dropDenied(session, permissions);
  return denied;
}

const view = new PublishView();

/** Messages that wait and came by a subscription that is gone. What was sent already is only finished. */
function dropDenied(session: Session, permissions: Permissions): void {
  const known = new Map<string, boolean>();
  session.queue?.takeWhere((message) => {
    const topic = topicOf(message);
    let isDenied = known.get(topic);
    if (isDenied === undefined) {
      isDenied = !permissions.maySubscribe(topic, message.qos);
      known.set(topic, isDenied);
    }
    return isDenied;
  });
  if (session.queueLength === 0) session.queue = null;
}

/** What the former user was sent and has not acknowledged is new to another one. */
function dropFlights({ window }: Session, permissions: Permissions): void {
  window.forEach((id, _state, message) => {
    if (message !== null && !permissions.maySubscribe(topicOf(message), message.qos)) window.free(id);
  });
}

function topicOf({ bytes, start, end, layout }: StoredMessage): string {
  decodePublish(bytes, start, end, layout, view);
  return bytes.toString('utf8', view.topicStart, view.topicStart + view.topicLength);
}
