/**
 * The port that knows which worker owns a named session, over all workers of the node, and of all nodes of a cluster.
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
  /**
   * Closes the session's connection; the session stays subscribed and queues. Returns its subscriptions, or undefined. When the promise
   * rejects, the session stays here.
   */
  yieldSession(name: string): SessionState | undefined | Promise<SessionState | undefined>;
  /**
   * Lets the session go. Messages that were routed at `epoch` or later belong to the new owner and are left out.
   * Returns the rest of its state, or undefined when nothing remains.
   */
  releaseSession(name: string, epoch: number): SessionState | undefined;
  /** Closes the session's connection and forgets the session; what is stored of it has gone when the promise resolves. */
  discardSession(name: string): void | Promise<void>;
  /** The hand-over that `yieldSession` began has failed: the session stays here. */
  keepSession(name: string): void;
  /** What is here of the name is an older copy of what another worker, or another node, has: it is forgotten, and its client told. */
  dropCopy(name: string): void;
  /** Absent: each node of a cluster has names of its own. */
  readonly moves?: SessionMoves;
}

/** The side of the owner in a cluster: a name has one session on all nodes together. */
export interface SessionMoves {
  /** All sessions of this worker: those that are stored, and the others. */
  names(): SessionNames;
  /**
   * Another node wants the session: closes its connection; it stands still. Null when nothing of it can be carried over. `keepSession` or
   * `departed` follows. When the promise rejects, the session stays here.
   */
  depart(name: string): Promise<SessionDeparting | null>;
  /** Another node has the session: what is here of it is forgotten. */
  departed(name: string): void;
  /** A session of another node comes to this worker. */
  arrive(name: string): Promise<SessionArriving>;
  /** The number of the last move of the name to this node: what is stored here of another move was never at home here. Null: any is. */
  settleArrival(name: string, epoch: number | null): void;
}

export interface SessionNames {
  readonly lasting: readonly string[];
  readonly live: readonly string[];
}

/** A session on its way to another node. One call at a time. */
export interface SessionDeparting {
  /** The next part, null behind the last one. */
  next(): Promise<Uint8Array | null>;
}

/** A session on its way from another node. One call at a time; when one rejects, nothing of it came. */
export interface SessionArriving {
  /** Resolves when the part is durable. */
  take(part: Uint8Array): Promise<void>;
  /** All of it came with the move of this number; resolves when it is durable. It is at home here with `settleArrival`. */
  finish(epoch: number): Promise<void>;
  abort(): void;
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
   *
   * `isLasting`: the session outlives its connection and the worker. When the worker dies, claims of such a name wait for its successor.
   */
  claim(scope: string, name: string, discard: boolean, isLasting: boolean, callbacks: ClaimCallbacks): void;
  /** Sessions that were found in the storage: this worker owns them. `epochs` say which of two copies is the newer one. */
  announce(scope: string, names: readonly string[], epochs: readonly number[]): void;
  /** The session ended here; ownership ends. */
  release(scope: string, name: string): void;
  /**
   * In a cluster: takes a name that one owner at a time may hold on all nodes together, beside sessions; `decided` is called once, at once when
   * there are no other nodes. An owner that holds it already, on whichever node, is granted it.
   */
  hold(name: string, owner: string, decided: (isGranted: boolean) => void): void;
  /** Gives it back. Does nothing when `owner` does not hold it on this worker. */
  letGo(name: string, owner: string): void;
}

export interface ClaimCallbacks {
  /** When the promise rejects the session stays where it was, and `refused` follows. */
  install(state: SessionState): number | Promise<number>;
  granted(result: ClaimGranted): void;
  /** In place of `granted`: the session can neither be handed over nor ended at present. */
  refused(): void;
}
