/**
 * Groups whose members share the messages of a filter, over the same message logs as durable sessions: each group has its place in each
 * log, keeps messages while nobody is there, and gives each one to one member, on whichever slot. Protocols use it; nothing in it
 * knows one. Thread: that of the sessions of the slot.
 */
import type { GroupStrategy } from '../../broker/group-strategies.ts';
import { DurableSessions } from '../durable-sessions.ts';
import type { OnlineSession } from '../online-session.ts';
import type { Membership } from '../session-entry.ts';
import { SessionError } from '../session-error.ts';
import { type DurableSessionsOptions, sessionDefaults } from '../session-options.ts';
import { GroupDesk } from './group-desk.ts';
import type { GroupFigures, GroupTotals } from './group-figures.ts';
import { groupKeyOf } from './group-key.ts';
import { aloneTransport } from './group-messages.ts';
import { type DurableGroupsOptions, groupDefaults } from './group-options.ts';
import { GroupOwner } from './group-owner.ts';
import { GroupPost } from './group-post.ts';
import type { TransientLink, TransientMember } from './transient-member.ts';

/** How a member takes part. */
export interface GroupSpec {
  readonly tenant?: string;
  readonly name: string;
  readonly filter: string;
  /** What the first member says holds while the group lasts. */
  readonly strategy: GroupStrategy;
  /** Messages come with the lower one of this and their own grade; those of grade 0 do not come this way at all. */
  readonly grade: 0 | 1 | 2;
  /** A hash of the client's name: where hashes find it. */
  readonly seed: number;
  /** The protocol's own; come back with each message. */
  readonly detail: number;
  readonly identifier: number;
}

/** For metrics and tests. */
export interface GroupInfo {
  readonly group: string;
  readonly members: number;
  /** Seen and not settled: with members, or waiting for one. */
  readonly open: number;
  readonly waiting: number;
  readonly isCaughtUp: boolean;
}

export class DurableGroups {
  readonly #desk: GroupDesk;
  readonly #owner: GroupOwner;
  readonly #post: GroupPost;

  private constructor(desk: GroupDesk, owner: GroupOwner, post: GroupPost) {
    this.#desk = desk;
    this.#owner = owner;
    this.#post = post;
  }

  /**
   * Opens the sessions of a slot and the groups that it owns. From the resolution on publishers know the filters of both. Rejects as
   * `DurableSessions.open`.
   */
  static async open(
    sessionOptions: DurableSessionsOptions,
    options: DurableGroupsOptions = {},
  ): Promise<{ readonly sessions: DurableSessions; readonly groups: DurableGroups }> {
    const { slot, context } = sessionOptions;
    const transport = options.transport ?? aloneTransport(slot);
    const post = new GroupPost(slot, transport, context);
    const owner = new GroupOwner(sessionOptions, options, post);
    await owner.load();
    let desk: GroupDesk | null = null;
    const sessions = await DurableSessions.open({
      ...sessionOptions,
      readers: owner,
      onFailed: (error) => {
        owner.stop();
        desk?.close(error);
        post.close();
        sessionOptions.onFailed?.(error);
      },
    });
    const { runtime } = sessions;
    desk = new GroupDesk({
      context,
      runtime,
      post,
      creditMax: options.creditMax ?? groupDefaults.creditMax,
      subscriptionsMax: sessionOptions.subscriptionsMax ?? sessionDefaults.subscriptionsMax,
      onGroup: (group, isKept) => options.onGroup?.(group, isKept),
    });
    runtime.grouping = desk;
    const { feeds, live, drops } = runtime;
    owner.start({ feeds, live, drops, interest: sessions.interest }, (error) => sessions.fail(error));
    const groups = new DurableGroups(desk, owner, post);
    post.handle((from, message) => groups.#route(from, message));
    transport.onSlotGone((gone) => owner.slotGone(gone));
    for (const other of post.others) if (other !== slot) post.post(other, { kind: 'ready' });
    await owner.greetAll();
    return { sessions, groups };
  }

  /**
   * Makes a session a member, or changes how it is one; answers whether it is new. From the resolution on every message that is
   * acknowledged to its publisher is kept for the group, whoever is there. Rejects with SessionError.
   */
  join(session: OnlineSession, spec: GroupSpec): Promise<boolean> {
    return this.#desk.join(session, membershipOf(spec));
  }

  /** Ends a membership; answers whether there was one. The group ends some seconds after its last one. */
  leave(session: OnlineSession, spec: Pick<GroupSpec, 'tenant' | 'name' | 'filter'>): Promise<boolean> {
    return this.#desk.leave(session, keyOf(spec));
  }

  /**
   * A client whose session is in memory alone takes part in a group that is kept; `credit`: messages that it may have at a time. To be
   * called again when the group has ended and is kept again.
   */
  joinTransient(id: string, spec: GroupSpec, credit: number, link: TransientLink): TransientMember {
    return this.#desk.joinTransient(id, membershipOf(spec), credit, link);
  }

  /** Whether a group is kept: its members without a stored session belong here too, for messages of grade 1 and 2. */
  isKept(spec: Pick<GroupSpec, 'tenant' | 'name' | 'filter'>): boolean {
    return this.#desk.isKept(keyOf(spec));
  }

  /** Called every second. */
  tick(): void {
    this.#owner.tick();
  }

  /** Called with `DurableSessions.upkeep`, before it. */
  upkeep(): void {
    this.#owner.upkeep();
  }

  /** Of the groups that this slot owns, for administrators. */
  figures(): GroupFigures[] {
    return this.#owner.figures();
  }

  /** Of all groups that this slot owns, as `measure` found them. */
  get totals(): GroupTotals {
    return this.#owner.totals;
  }

  /** Called every few seconds. */
  measure(): void {
    this.#owner.measure();
  }

  /** Of the groups that this slot owns. */
  info(): GroupInfo[] {
    return Array.from(this.#owner.groups(), ({ key, members, openCount, waitingCount, reader }) => ({
      group: key,
      members: members.size,
      open: openCount,
      waiting: waitingCount,
      isCaughtUp: reader.isCaughtUp,
    }));
  }

  /** Members on this slot that are there. */
  get memberCount(): number {
    return this.#desk.memberCount;
  }

  /** The groups of a slot that has failed are another owner's now, which has made their filters known again. */
  releaseInterest(): void {
    this.#owner.releaseInterest();
  }

  /** Stores what there is to store; before `DurableSessions.close`. */
  async close(): Promise<void> {
    this.#desk.close(new SessionError('SESSION_CLOSED', 'The session service was closed'));
    await this.#owner.close();
    this.#post.close();
  }

  #route(from: number, message: Parameters<GroupDesk['handle']>[1]): void {
    switch (message.kind) {
      case 'hello':
      case 'group':
      case 'answer':
      case 'give':
        this.#desk.handle(from, message);
        break;
      default:
        this.#owner.handle(from, message);
    }
  }
}

function keyOf({ tenant = '', name, filter }: Pick<GroupSpec, 'tenant' | 'name' | 'filter'>): string {
  return groupKeyOf(tenant, name, filter);
}

function membershipOf(spec: GroupSpec): Membership {
  const { strategy, grade, seed, detail, identifier } = spec;
  return { group: keyOf(spec), strategy, grade, seed, detail, identifier };
}
