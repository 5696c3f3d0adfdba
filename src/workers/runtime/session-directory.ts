/**
 * The connection worker's half of the session directory (`core/ports/session-directory.ts`). The hub on the main
 * thread is the other half and tells the order of a hand-over (`main/directory/session-directory-hub.ts`).
 *
 * Lives on a connection worker: protocols call it, the worker runtime feeds it with the main thread's messages. With
 * one worker on a node that is alone nothing is remembered and nothing is sent.
 */
import type {
  ClaimCallbacks,
  SessionArriving,
  SessionDeparting,
  SessionDirectory,
  SessionMoves,
  SessionOwner,
} from '../../core/ports/session-directory.ts';
import { assert } from '../../std/assert.ts';
import type { DirectoryToWorker, WorkerToMain } from '../messages.ts';

/** What a hand-over needs of the router. */
export interface IncomingRings {
  /** Reads everything that other workers have published up to now. */
  catchUp(): void;
}

interface ScopeState {
  readonly owner: SessionOwner;
  /** Names that this worker owns; those being handed over are in `yielded` too. */
  readonly owned: Set<string>;
  readonly yielded: Set<string>;
  /** Of those that this worker owns: known to the other nodes, and whether as lasting. */
  readonly shared: Map<string, boolean>;
  /** How many claims of a name wait for an answer. */
  readonly claimed: Map<string, number>;
}

interface PendingClaim {
  readonly scope: ScopeState;
  readonly name: string;
  readonly isLasting: boolean;
  readonly callbacks: ClaimCallbacks;
  /** It comes from another node. */
  arriving: SessionArriving | null;
}

interface Held {
  readonly name: string;
  readonly owner: string;
}

/** Names in one message to the main thread. */
const announcedMax = 10_000;

const GRANTED_WITHOUT_STATE = Object.freeze({ state: undefined });

type OfNodes = Extract<
  DirectoryToWorker,
  {
    type:
      | 'nodes-changed'
      | 'name-held'
      | 'depart'
      | 'depart-part'
      | 'depart-end'
      | 'arrive'
      | 'arrival-part'
      | 'arrival-end'
      | 'arrival-abort'
      | 'settle-arrival';
  }
>;

export class WorkerSessionDirectory implements SessionDirectory {
  private readonly workerCount: number;
  /** This worker is the only one that has sessions. */
  private alone: boolean;
  private isNodeAlone = true;
  private readonly post: (message: WorkerToMain) => void;
  private readonly rings: IncomingRings;
  private readonly scopes = new Map<string, ScopeState>();
  private readonly pending = new Map<number, PendingClaim>();
  /** Sessions that go to other nodes, by transfer. */
  private readonly departing = new Map<number, SessionDeparting>();
  /** Names beside sessions that this worker holds; and those of them that wait for an answer. */
  private readonly held = new Map<string, Held>();
  private readonly holding = new Map<number, Held & { readonly decided: (isGranted: boolean) => void }>();
  private nextRequest = 1;

  constructor(workerCount: number, rings: IncomingRings, post: (message: WorkerToMain) => void) {
    this.workerCount = workerCount;
    this.alone = workerCount === 1;
    this.rings = rings;
    this.post = post;
  }

  register(scope: string, owner: SessionOwner): void {
    assert(!this.scopes.has(scope), `one owner per scope: ${scope}`);
    this.scopes.set(scope, { owner, owned: new Set(), yielded: new Set(), shared: new Map(), claimed: new Map() });
  }

  claim(scopeName: string, name: string, discard: boolean, isLasting: boolean, callbacks: ClaimCallbacks): void {
    const scope = this.scope(scopeName);
    // What this worker owns and was not asked for stays here, whatever the others are about to ask: the hub sees their
    // claims after this one. The protocol takes over from its own connection by itself.
    if (this.alone || this.isOurs(scope, name, isLasting)) {
      if (isLasting && !this.alone) this.post({ type: 'lasting', scope: scopeName, name });
      callbacks.granted(GRANTED_WITHOUT_STATE);
      return;
    }
    const request = this.nextRequest++;
    this.pending.set(request, { scope, name, isLasting, callbacks, arriving: null });
    scope.claimed.set(name, (scope.claimed.get(name) ?? 0) + 1);
    this.post({ type: 'claim', request, scope: scopeName, name, discard, isLasting });
  }

  /** With other nodes a session is to be made known first, and again when it begins to be lasting. */
  private isOurs(scope: ScopeState, name: string, isLasting: boolean): boolean {
    if (!scope.owned.has(name) || scope.yielded.has(name)) return false;
    if (this.isNodeAlone) return true;
    const shared = scope.shared.get(name);
    return shared === true || (shared === false && !isLasting);
  }

  announce(scopeName: string, names: readonly string[], epochs: readonly number[]): void {
    if (this.alone) return;
    const scope = this.scope(scopeName);
    for (const name of names) scope.owned.add(name);
    for (let from = 0; from < names.length; from += announcedMax) {
      const to = from + announcedMax;
      const part = { names: names.slice(from, to), epochs: epochs.slice(from, to) };
      this.post({ type: 'announce', scope: scopeName, ...part });
    }
  }

  release(scopeName: string, name: string): void {
    if (this.alone) return;
    const scope = this.scope(scopeName);
    // A session that is being handed over leaves by the answer to `release-session`.
    if (scope.yielded.has(name)) return;
    if (!scope.owned.delete(name)) return;
    scope.shared.delete(name);
    // The hub may have granted the name to another claim of this worker already, and would take this for its end.
    if (!scope.claimed.has(name)) this.post({ type: 'release', scope: scopeName, name });
  }

  /** Claims that wait for an answer. */
  get pendingCount(): number {
    return this.pending.size;
  }

  handle(message: DirectoryToWorker): void {
    switch (message.type) {
      case 'yield':
        this.yieldSession(message.transfer, message.scope, message.name);
        break;
      case 'discard':
        this.discardSession(message.transfer, message.scope, message.name);
        break;
      case 'install':
        this.install(message.transfer, message.request, message.state);
        break;
      case 'fence':
        // The answer says only that this turn came after the new owner had subscribed: a publication is routed and
        // written to the ring in one turn, so that none is still on its way with an older route.
        this.post({ type: 'fenced', transfer: message.transfer });
        break;
      case 'release-session':
        this.releaseSession(message);
        break;
      case 'keep-session':
        this.keepSession(message.scope, message.name);
        break;
      case 'drop-copy':
        this.dropCopy(message.scope, message.name);
        break;
      case 'refused':
        this.refused(message.request);
        break;
      case 'granted':
        this.granted(message.request, message.state);
        break;
      default:
        this.handleOfNodes(message);
    }
  }

  /** What concerns other nodes. */
  private handleOfNodes(message: OfNodes): void {
    switch (message.type) {
      case 'nodes-changed':
        this.nodesChanged(message.isAlone);
        break;
      case 'name-held':
        this.nameHeld(message.request, message.isGranted);
        break;
      case 'depart':
        this.depart(message.transfer, message.scope, message.name);
        break;
      case 'depart-part':
        this.departPart(message.transfer);
        break;
      case 'depart-end':
        this.departEnd(message);
        break;
      case 'arrive':
        this.arrive(message.request);
        break;
      case 'arrival-part':
        this.taken(message.request, (arriving) => arriving.take(message.part));
        break;
      case 'arrival-end':
        this.taken(message.request, (arriving) => arriving.finish(message.epoch));
        break;
      case 'arrival-abort':
        this.abortArrival(message.request);
        break;
      case 'settle-arrival':
        this.scope(message.scope).owner.moves?.settleArrival(message.name, message.epoch);
        break;
    }
  }

  /** The hub has to know what this worker has, before it serves claims of other nodes. */
  private nodesChanged(isAlone: boolean): void {
    this.isNodeAlone = isAlone;
    this.alone = isAlone && this.workerCount === 1;
    if (isAlone) return;
    for (const [scopeName, scope] of this.scopes) {
      const { moves } = scope.owner;
      if (moves === undefined) continue;
      const { lasting, live } = moves.names();
      for (const name of [...lasting, ...live]) if (!scope.yielded.has(name)) scope.owned.add(name);
      for (let from = 0; from === 0 || from < Math.max(lasting.length, live.length); from += announcedMax) {
        const to = from + announcedMax;
        const part = { lasting: lasting.slice(from, to), live: live.slice(from, to) };
        this.post({ type: 'owned', scope: scopeName, ...part, isLast: false });
      }
    }
    this.post({ type: 'owned', scope: '', lasting: [], live: [], isLast: true });
    for (const { name, owner } of this.held.values()) this.hold(name, owner, ignoreDecision);
  }

  hold(name: string, owner: string, decided: (isGranted: boolean) => void): void {
    this.held.set(heldKey(name, owner), { name, owner });
    if (this.isNodeAlone) {
      decided(true);
      return;
    }
    const request = this.nextRequest++;
    this.holding.set(request, { name, owner, decided });
    this.post({ type: 'hold-name', request, name, owner });
  }

  letGo(name: string, owner: string): void {
    if (this.held.delete(heldKey(name, owner)) && !this.isNodeAlone) this.post({ type: 'let-name', name, owner });
  }

  private nameHeld(request: number, isGranted: boolean): void {
    const holding = this.holding.get(request);
    if (holding === undefined) return;
    this.holding.delete(request);
    const { name, owner, decided } = holding;
    if (!isGranted) this.held.delete(heldKey(name, owner));
    decided(isGranted);
  }

  private depart(transfer: number, scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    if (!scope.owned.has(name)) {
      this.post({ type: 'departing', transfer, hasState: false });
      return;
    }
    scope.yielded.add(name);
    this.movesOf(scope)
      .depart(name)
      .then(
        (departing) => {
          if (departing === null) this.forget(scope, name);
          else this.departing.set(transfer, departing);
          this.post({ type: 'departing', transfer, hasState: departing !== null });
        },
        () => this.post({ type: 'transfer-failed', transfer }),
      );
  }

  private departPart(transfer: number): void {
    const departing = this.departing.get(transfer);
    const next = departing === undefined ? Promise.reject(new Error('it was ended')) : departing.next();
    next.then(
      (part) => this.post({ type: 'departure-part', transfer, part }),
      () => this.post({ type: 'transfer-failed', transfer }),
    );
  }

  private departEnd({ transfer, scope: scopeName, name, isKept }: Extract<OfNodes, { type: 'depart-end' }>): void {
    this.departing.delete(transfer);
    if (isKept) {
      this.keepSession(scopeName, name);
      return;
    }
    const scope = this.scope(scopeName);
    this.forget(scope, name);
    this.movesOf(scope).departed(name);
  }

  private movesOf({ owner: { moves } }: ScopeState): SessionMoves {
    assert(moves !== undefined, 'sessions of the scope move between nodes');
    return moves;
  }

  private forget(scope: ScopeState, name: string): void {
    scope.owned.delete(name);
    scope.yielded.delete(name);
    scope.shared.delete(name);
  }

  private arrive(request: number): void {
    const claim = this.claimOf(request);
    const { scope, name } = claim;
    const begun = this.movesOf(scope)
      .arrive(name)
      .then((arriving) => {
        // It may have been given up meanwhile.
        if (this.pending.get(request) === claim) claim.arriving = arriving;
        else arriving.abort();
      });
    this.answerArrival(request, begun);
  }

  private taken(request: number, take: (arriving: SessionArriving) => Promise<void>): void {
    const arriving = this.pending.get(request)?.arriving ?? null;
    this.answerArrival(request, arriving === null ? Promise.reject(new Error('it was ended')) : take(arriving));
  }

  private answerArrival(request: number, done: Promise<void>): void {
    done.then(
      () => this.post({ type: 'arrival-taken', request, problem: null }),
      (error: unknown) => {
        this.abortArrival(request);
        const problem = error instanceof Error ? error.message : String(error);
        this.post({ type: 'arrival-taken', request, problem });
      },
    );
  }

  private abortArrival(request: number): void {
    const claim = this.pending.get(request);
    claim?.arriving?.abort();
    if (claim !== undefined) claim.arriving = null;
  }

  private yieldSession(transfer: number, scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    // It may have ended while the question was on its way.
    if (!scope.owned.has(name)) {
      this.post({ type: 'yielded', transfer, state: undefined });
      return;
    }
    // From here on claims of this worker wait for the others', too.
    scope.yielded.add(name);
    const yielded = (state: unknown): void => {
      if (state === undefined) {
        scope.owned.delete(name);
        scope.yielded.delete(name);
      }
      this.post({ type: 'yielded', transfer, state });
    };
    const state = scope.owner.yieldSession(name);
    if (state instanceof Promise) state.then(yielded, () => this.post({ type: 'transfer-failed', transfer }));
    else yielded(state);
  }

  private discardSession(transfer: number, scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    const discarded = (): void => this.post({ type: 'discarded', transfer });
    const ending = scope.owned.has(name) ? scope.owner.discardSession(name) : undefined;
    if (ending === undefined) {
      scope.owned.delete(name);
      discarded();
      return;
    }
    scope.yielded.add(name);
    ending.then(
      () => {
        scope.owned.delete(name);
        scope.yielded.delete(name);
        discarded();
      },
      () => this.post({ type: 'transfer-failed', transfer }),
    );
  }

  private install(transfer: number, request: number, state: unknown): void {
    const installed = (epoch: number): void => this.post({ type: 'installed', transfer, epoch });
    const epoch = this.claimOf(request).callbacks.install(state);
    if (typeof epoch === 'number') installed(epoch);
    else epoch.then(installed, () => this.post({ type: 'transfer-failed', transfer }));
  }

  private keepSession(scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    if (scope.yielded.delete(name)) scope.owner.keepSession(name);
  }

  private dropCopy(scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    scope.owned.delete(name);
    scope.shared.delete(name);
    scope.owner.dropCopy(name);
  }

  private refused(request: number): void {
    this.abortArrival(request);
    const { scope, name, callbacks } = this.claimOf(request);
    this.endClaim(request, scope, name);
    callbacks.refused();
  }

  private releaseSession(message: Extract<DirectoryToWorker, { type: 'release-session' }>): void {
    const scope = this.scope(message.scope);
    // First take what other workers routed here before the new owner was subscribed, then cut at the epoch.
    this.rings.catchUp();
    const state = scope.owner.releaseSession(message.name, message.epoch);
    scope.owned.delete(message.name);
    scope.yielded.delete(message.name);
    this.post({ type: 'released', transfer: message.transfer, state });
  }

  private granted(request: number, state: unknown): void {
    const { scope, name, isLasting, callbacks } = this.claimOf(request);
    this.endClaim(request, scope, name);
    // Before the callback, which may release it again.
    scope.owned.add(name);
    if (!this.isNodeAlone) scope.shared.set(name, isLasting || scope.shared.get(name) === true);
    callbacks.granted({ state });
  }

  private endClaim(request: number, scope: ScopeState, name: string): void {
    this.pending.delete(request);
    const waiting = (scope.claimed.get(name) ?? 1) - 1;
    if (waiting > 0) scope.claimed.set(name, waiting);
    else scope.claimed.delete(name);
  }

  private scope(name: string): ScopeState {
    const scope = this.scopes.get(name);
    assert(scope !== undefined, `the scope is registered: ${name}`);
    return scope;
  }

  private claimOf(request: number): PendingClaim {
    const claim = this.pending.get(request);
    assert(claim !== undefined, 'the hub answers a claim that waits');
    return claim;
  }
}

function heldKey(name: string, owner: string): string {
  return `${name.length}:${name}${owner}`;
}

/** It was held while the node was alone, and goes on. */
function ignoreDecision(): void {
  // Another node held it as well: the first who lets go ends that.
}
