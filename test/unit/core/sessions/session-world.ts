/**
 * Durable sessions over a store that fails and crashes, with clients that keep what real ones keep: packet ids that they have received,
 * and what they were given. One seed, one run.
 */

import type { QueueContext } from '../../../../src/core/queues/queue-context.ts';
import {
  type AttachOptions,
  DurableSessions,
  type NewSubscription,
} from '../../../../src/core/sessions/durable-sessions.ts';
import type { NewMessage } from '../../../../src/core/sessions/message-record.ts';
import type { OnlineSession, SessionDelivery, SessionLink } from '../../../../src/core/sessions/online-session.ts';
import { neverExpires } from '../../../../src/core/sessions/session-entry.ts';
import type { DurableSessionsOptions } from '../../../../src/core/sessions/session-options.ts';
import { World } from '../queues/fixture.ts';

export type Given = Partial<Omit<DurableSessionsOptions, 'store' | 'context'>>;

export class SessionWorld {
  readonly world: World;
  readonly given: Given;
  sessions!: DurableSessions;
  readonly wills: string[] = [];
  readonly failures: string[] = [];
  readonly expired: string[] = [];

  constructor(seed: number, given: Given = {}) {
    this.world = new World(seed);
    this.given = given;
  }

  async open(given: Given = {}): Promise<DurableSessions> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.sessions = await this.run(this.opening(given));
        return this.sessions;
      } catch (error) {
        // As whoever opens sessions does while the storage is not there.
        if ((error as { canRetry?: boolean }).canRetry !== true || attempt === 50) throw error;
      }
    }
  }

  /** Another owner, at the same time. */
  opening(given: Given = {}): Promise<DurableSessions> {
    const { world } = this;
    return DurableSessions.open({
      store: world.store,
      context: world.context,
      slot: 0,
      onWill: (id, will, done) => {
        this.wills.push(`${id}:${will.content}`);
        done();
      },
      onExpired: (id) => this.expired.push(id),
      onFailed: (error) => this.failures.push(error.code),
      ...this.given,
      ...given,
    });
  }

  crash(): void {
    this.world.crash();
  }

  /** Lets the world turn until the promise is settled. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let isDone = false;
    const watched = promise.finally(() => {
      isDone = true;
    });
    watched.catch(() => undefined);
    for (let count = 0; count < 2000 && !isDone; count += 1) {
      await this.world.settle();
      if (!isDone) await this.world.pass(60);
    }
    if (!isDone) throw new Error('nothing happens any more');
    return watched;
  }

  async attach(client: TestClient, options: Partial<AttachOptions> = {}): Promise<boolean> {
    const full = { isClean: false, expiryMs: neverExpires, window: 8, will: null, ...options };
    const { session, isPresent } = await this.run(this.sessions.attach(client.id, full, client));
    client.session = session;
    session.begin();
    return isPresent;
  }

  subscribe(client: TestClient, ...subscriptions: (Partial<NewSubscription> & { readonly filter: string })[]) {
    const full = subscriptions.map((each) => ({
      grade: 1 as const,
      noLocal: false,
      detail: 0,
      identifier: 0,
      ...each,
    }));
    return this.run(this.sessions.subscribe(client.online, full));
  }

  async publish(topic: string, value: string, given: Partial<NewMessage> = {}): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.sessions.publish(messageOf(topic, value, given), (error) => (error === null ? resolve() : reject(error)));
    });
    await this.run(done);
  }
}

export function messageOf(topic: string, value: string, given: Partial<NewMessage> = {}): NewMessage {
  return {
    topicBytes: Buffer.from(topic),
    body: Buffer.from(value),
    header: Buffer.from('h'),
    grade: 1,
    expiresAtMs: 0,
    publisher: '',
    ...given,
  };
}

export interface Seen {
  readonly value: string;
  readonly topic: string;
  readonly packetId: number;
  readonly grade: 0 | 1 | 2;
  readonly isDuplicate: boolean;
}

/** What a client does with a message. */
export type Manner = 'answer' | 'keep';

export class TestClient implements SessionLink {
  readonly id: string;
  session: OnlineSession | null = null;
  manner: Manner = 'answer';
  room = Number.POSITIVE_INFINITY;
  bytesMax = Number.POSITIVE_INFINITY;
  /** Everything that came, again and again too. */
  readonly seen: Seen[] = [];
  /** What its user was given: grade 2 once. */
  readonly given: Seen[] = [];
  /** Of grade 2, received and not released: outlives connections. */
  readonly held = new Set<number>();
  readonly releases: number[] = [];
  readonly ends: string[] = [];
  /** Not answered yet. */
  due: (() => void)[] = [];
  readonly #defer: (task: () => void) => void;

  constructor(id: string, { world }: { readonly world: { readonly context: Pick<QueueContext, 'defer'> } }) {
    this.id = id;
    this.#defer = (task) => world.context.defer(task);
  }

  get online(): OnlineSession {
    if (this.session === null) throw new Error(`${this.id} is not connected`);
    return this.session;
  }

  get values(): string[] {
    return this.given.map(({ value }) => value);
  }

  hasRoom(): boolean {
    return this.room > 0;
  }

  deliver({ message, packetId, grade, isDuplicate }: SessionDelivery): boolean {
    const { bytes } = message;
    if (message.size > this.bytesMax) return false;
    this.room -= 1;
    const topic = bytes.toString('utf8', message.topicStart, message.topicStart + message.topicLength);
    const value = bytes.toString('utf8', message.bodyStart, message.bodyStart + message.bodyLength);
    const seen = { value, topic, packetId, grade, isDuplicate };
    this.seen.push(seen);
    if (grade === 1) {
      this.given.push(seen);
      this.#answer((session) => session.acknowledge(packetId));
      return true;
    }
    if (!this.held.has(packetId)) {
      this.held.add(packetId);
      this.given.push(seen);
    }
    this.#answer((session) => session.receive(packetId));
    return true;
  }

  release(packetId: number): void {
    this.releases.push(packetId);
    this.held.delete(packetId);
    this.#answer((session) => session.complete(packetId));
  }

  end(error: Error & { readonly code: string }): void {
    this.ends.push(error.code);
    this.lose();
  }

  /** The connection is gone, as the client sees it. */
  lose(): void {
    this.session = null;
    this.due = [];
  }

  answerDue(count = this.due.length): void {
    for (const answer of this.due.splice(0, count)) answer();
  }

  #answer(task: (session: OnlineSession) => void): void {
    const { session } = this;
    const answer = (): void => {
      if (session !== null && this.session === session && !session.isClosed) task(session);
      else if (session === null && this.session !== null && !this.session.isClosed) task(this.session);
    };
    if (this.manner === 'keep') this.due.push(answer);
    else this.#defer(answer);
  }
}
