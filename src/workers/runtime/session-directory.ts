/**
 * The connection worker's half of the session directory (`core/ports/session-directory.ts`). The hub on the main
 * thread is the other half and tells the order of a hand-over (`main/directory/session-directory-hub.ts`).
 *
 * Lives on a connection worker: protocols call it, the worker runtime feeds it with the main thread's messages. With
 * one worker nothing is remembered and nothing is sent.
 */
import type { ClaimCallbacks, SessionDirectory, SessionOwner } from '../../core/ports/session-directory.ts';
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
  /** How many claims of a name wait for an answer. */
  readonly claimed: Map<string, number>;
}

interface PendingClaim {
  readonly scope: ScopeState;
  readonly name: string;
  readonly callbacks: ClaimCallbacks;
}

/** Names in one message to the main thread. */
const announcedMax = 10_000;

const GRANTED_WITHOUT_STATE = Object.freeze({ state: undefined });

export class WorkerSessionDirectory implements SessionDirectory {
  private readonly alone: boolean;
  private readonly post: (message: WorkerToMain) => void;
  private readonly rings: IncomingRings;
  private readonly scopes = new Map<string, ScopeState>();
  private readonly pending = new Map<number, PendingClaim>();
  private nextRequest = 1;

  constructor(workerCount: number, rings: IncomingRings, post: (message: WorkerToMain) => void) {
    this.alone = workerCount === 1;
    this.rings = rings;
    this.post = post;
  }

  register(scope: string, owner: SessionOwner): void {
    assert(!this.scopes.has(scope), `one owner per scope: ${scope}`);
    this.scopes.set(scope, { owner, owned: new Set(), yielded: new Set(), claimed: new Map() });
  }

  claim(scopeName: string, name: string, discard: boolean, isLasting: boolean, callbacks: ClaimCallbacks): void {
    const scope = this.scope(scopeName);
    // What this worker owns and was not asked for stays here, whatever the others are about to ask: the hub sees their
    // claims after this one. The protocol takes over from its own connection by itself.
    if (this.alone || (scope.owned.has(name) && !scope.yielded.has(name))) {
      if (isLasting && !this.alone) this.post({ type: 'lasting', scope: scopeName, name });
      callbacks.granted(GRANTED_WITHOUT_STATE);
      return;
    }
    const request = this.nextRequest++;
    this.pending.set(request, { scope, name, callbacks });
    scope.claimed.set(name, (scope.claimed.get(name) ?? 0) + 1);
    this.post({ type: 'claim', request, scope: scopeName, name, discard, isLasting });
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
    }
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
    scope.owner.dropCopy(name);
  }

  private refused(request: number): void {
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
    const { scope, name, callbacks } = this.claimOf(request);
    this.endClaim(request, scope, name);
    // Before the callback, which may release it again.
    scope.owned.add(name);
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
