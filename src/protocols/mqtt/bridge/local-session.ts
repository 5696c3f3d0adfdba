/**
 * The session that a bridge has at its own broker, as a client of it would: it remembers which QoS 2 messages of the remote broker have come,
 * over kill -9. It subscribes to nothing, and has no connection. Thread: the worker that has the bridge.
 */
import type { OnlineSession } from '../../../core/sessions/online-session.ts';
import type { OpenAnswers, OpenRequest } from '../durable/open-request.ts';
import { reasonName } from '../errors.ts';
import type { Link, LinkOutput, Session } from '../state/session.ts';

export interface LocalSessionOptions {
  /** No client can have it. */
  readonly clientId: string;
  /** Lifetime without the bridge. */
  readonly expiryS: number;
  open(request: OpenRequest, answers: OpenAnswers): void;
  /** The link does not use the session any more. */
  closed(session: Session, link: Link): void;
  /** The session cannot be used any more; the next `open` makes it anew or finds it. */
  lost(): void;
}

/**
 * Name of the session of a bridge: U+0000 is in no client id [MQTT-1.5.4-2], and no tenant has an empty name (`core/tenants/tenant-names.ts`).
 */
export function localSessionName(bridge: string, clientId: string): string {
  return `\0\0bridge ${bridge} ${clientId}`;
}

export class LocalSession {
  readonly #options: LocalSessionOptions;
  #link: LocalLink | null = null;

  constructor(options: LocalSessionOptions) {
    this.#options = options;
  }

  get clientId(): string {
    return this.#options.clientId;
  }

  /**
   * The session, as it was left or, with `isNew`, without any memory; null when this broker stores no sessions. Rejects with what is to be
   * told to people.
   */
  async open(isNew: boolean): Promise<OnlineSession | null> {
    const known = this.#link?.session?.online ?? null;
    if (!isNew && known !== null && !known.isClosed) return known;
    this.close();
    const { clientId, expiryS, open, closed } = this.#options;
    const link = new LocalLink((session) => this.#ended(link, session));
    this.#link = link;
    const { promise, resolve, reject } = Promise.withResolvers<OnlineSession | null>();
    open(
      { clientId, clean: isNew, expiryS, inflightMax: 1, will: null, permissions: null, link },
      {
        opened: (session) => {
          if (link.connection.closed) {
            closed(session, link);
            reject(new Error('the session of the bridge was closed meanwhile'));
            return;
          }
          link.session = session;
          session.online?.begin();
          resolve(session.online);
        },
        refused: (code) => reject(new Error(`the session of the bridge cannot be opened: ${reasonName(code)}`)),
      },
    );
    return promise;
  }

  /** Leaves the session as it is. */
  close(): void {
    const link = this.#link;
    this.#link = null;
    if (link === null || link.connection.closed) return;
    link.connection.closed = true;
    if (link.session !== null) this.#options.closed(link.session, link);
  }

  #ended(link: LocalLink, session: Session | null): void {
    if (session !== null) this.#options.closed(session, link);
    if (this.#link !== link) return;
    this.#link = null;
    this.#options.lost();
  }
}

const nothing = Buffer.alloc(0);

/** Nothing is ever written to it: who subscribes to nothing is sent nothing. */
class LocalLink implements Link {
  readonly connection: LinkOutput & { closed: boolean } = {
    closed: false,
    outputBytes: 0,
    outputBuffer: nothing,
    write: () => undefined,
    reserve: () => 0,
  };
  readonly level = 5;
  readonly layout = 5;
  readonly packetBytesMax = Number.MAX_SAFE_INTEGER;
  readonly aliases = null;
  readonly hasPendingRetained = false;
  session: Session | null = null;
  readonly #ended: (session: Session | null) => void;

  constructor(ended: (session: Session | null) => void) {
    this.#ended = ended;
  }

  sendRetainedBefore(): void {
    // It has no subscriptions.
  }

  end(): void {
    if (this.connection.closed) return;
    this.connection.closed = true;
    this.#ended(this.session);
  }

  adopt(): void {
    // What comes over a bridge is subject to its rules alone.
  }

  revoked(): void {
    // It has no subscriptions.
  }
}
