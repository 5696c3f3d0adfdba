/**
 * The port that knows which worker owns a named session, over all workers of the node (and later all nodes).
 *
 * Ownership is exclusive: a claim is granted only after the former owner has let go. Claims of one name are served in
 * the order in which they arrive. Thread: each connection worker has its own implementation of the port.
 */

/** What the former owner hands over: structured-cloneable, opaque to everything between the two owners. */
export type SessionState = unknown;

export interface ClaimGranted {
  /** State of the former owner, or undefined when there was none or it was to be discarded. */
  readonly state: SessionState | undefined;
}

/** The side that owns sessions on this worker and may be asked to let one go. */
export interface SessionOwner {
  /** Closes the session's connection; the session stays subscribed and queues. Returns its subscriptions, or undefined. */
  yieldSession(name: string): SessionState | undefined;
  /**
   * Lets the session go. Messages that were routed at `epoch` or later belong to the new owner and are left out.
   * Returns the rest of its state, or undefined when nothing remains.
   */
  releaseSession(name: string, epoch: number): SessionState | undefined;
  /** Closes the session's connection and forgets the session. */
  discardSession(name: string): void;
}

export interface SessionDirectory {
  /** Registers who answers for `scope` (a protocol's name) on this worker. */
  register(scope: string, owner: SessionOwner): void;
  /**
   * Asks for ownership. `discard` tells the former owner to forget the session instead of handing it over. Calls
   * `granted` once: before `claim` returns when no other worker has to be asked, else later.
   *
   * With a hand-over, `install` is called first with what `yieldSession` answered: it subscribes on this worker and
   * returns the routing epoch from which on this worker takes the session's messages; `granted` follows with the rest.
   */
  claim(scope: string, name: string, discard: boolean, callbacks: ClaimCallbacks): void;
  /** The session ended here; ownership ends. */
  release(scope: string, name: string): void;
}

export interface ClaimCallbacks {
  install(state: SessionState): number;
  granted(result: ClaimGranted): void;
}
