/**
 * The main thread's half of the session directory: which worker owns which named session.
 *
 * Lives on the main thread; the broker feeds it with the workers' messages and deaths. A node with one worker never
 * asks it. Claims of one name are served one after the other, in the order of arrival. A name that nobody else owns is
 * granted at once; otherwise the session is handed over:
 *
 *   claimant → hub        claim
 *   hub → former owner    yield                    closes the connection; the session stays subscribed and queues
 *   hub → claimant        install(state)           subscribes; answers with the routing epoch E
 *   hub → all but former  fence                    answers from a later turn, so that every message that it routed
 *                                                  before E is in its ring
 *   hub → former owner    release(E)               reads all rings to their present end, then lets the session go
 *   hub → claimant        granted(rest of state)
 *
 * Between E and the release both owners take messages; the former leaves out what was routed at E or later, and the
 * fence makes sure that it has seen all that was routed before. So every message is in exactly one of the two.
 *
 * Deaths: without the former owner the claim is granted with no state. Without the claimant, the former owner keeps
 * the session as long as it was not asked to release it, else ownership is void. A dead worker is not fenced: what it
 * had not published is lost with it.
 */
import type { DirectoryToMain } from '../../workers/messages.ts';
import type { WorkerPost } from './broadcast-hub.ts';

interface Claim {
  readonly claimant: number;
  readonly request: number;
  readonly discard: boolean;
}

type Phase = 'yielding' | 'installing' | 'fencing' | 'releasing' | 'discarding';

interface Transfer {
  readonly id: number;
  readonly scope: string;
  readonly name: string;
  readonly owner: number;
  readonly claim: Claim;
  /** Claims of the same name that came meanwhile, oldest first. */
  waiting: Claim[];
  phase: Phase;
  claimantGone: boolean;
  epoch: number;
  readonly unfenced: Set<number>;
}

interface Scope {
  /** Name → index of the owning worker. One number per session: there may be a million. */
  readonly owners: Map<string, number>;
  readonly transfers: Map<string, Transfer>;
}

export class SessionDirectoryHub {
  private readonly workers: WorkerPost;
  private readonly scopes = new Map<string, Scope>();
  private readonly transfers = new Map<number, Transfer>();
  private nextTransfer = 1;

  constructor(workers: WorkerPost) {
    this.workers = workers;
  }

  handle(from: number, message: DirectoryToMain): void {
    if (message.type === 'claim') this.claim(message.scope, message.name, toClaim(from, message));
    else if (message.type === 'release') this.release(from, message.scope, message.name);
    else this.answer(from, message);
  }

  /** Owner of a session, or undefined. During a hand-over it is the former one. */
  ownerOf(scope: string, name: string): number | undefined {
    return this.scopes.get(scope)?.owners.get(name);
  }

  /** Hand-overs under way. */
  get transferCount(): number {
    return this.transfers.size;
  }

  /** Drops what a dead worker owned and finishes or aborts the hand-overs that it took part in. */
  workerGone(worker: number): void {
    for (const scope of this.scopes.values()) {
      for (const [name, owner] of scope.owners) if (owner === worker) scope.owners.delete(name);
    }
    // A copy, since ending a transfer may begin the next one of the same name.
    for (const transfer of [...this.transfers.values()]) {
      transfer.waiting = transfer.waiting.filter((claim) => claim.claimant !== worker);
      if (transfer.owner === worker) this.end(transfer, undefined);
      else if (transfer.claim.claimant === worker) this.claimantGone(transfer);
      else if (transfer.unfenced.delete(worker)) this.releaseWhenFenced(transfer);
    }
  }

  private scope(name: string): Scope {
    let scope = this.scopes.get(name);
    if (scope === undefined) {
      scope = { owners: new Map(), transfers: new Map() };
      this.scopes.set(name, scope);
    }
    return scope;
  }

  private claim(scopeName: string, name: string, claim: Claim): void {
    const scope = this.scope(scopeName);
    const running = scope.transfers.get(name);
    if (running !== undefined) {
      running.waiting.push(claim);
      return;
    }
    const owner = scope.owners.get(name);
    if (owner === undefined || owner === claim.claimant) {
      scope.owners.set(name, claim.claimant);
      this.workers.post(claim.claimant, { type: 'granted', request: claim.request, state: undefined });
      return;
    }
    this.begin(scope, scopeName, name, owner, claim);
  }

  private release(from: number, scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    // During a hand-over the former owner answers the questions that follow with "nothing left".
    if (scope.transfers.has(name)) return;
    if (scope.owners.get(name) === from) scope.owners.delete(name);
  }

  private begin(scope: Scope, scopeName: string, name: string, owner: number, claim: Claim): void {
    const transfer: Transfer = {
      id: this.nextTransfer++,
      scope: scopeName,
      name,
      owner,
      claim,
      waiting: [],
      phase: claim.discard ? 'discarding' : 'yielding',
      claimantGone: false,
      epoch: 0,
      unfenced: new Set(),
    };
    scope.transfers.set(name, transfer);
    this.transfers.set(transfer.id, transfer);
    const type = claim.discard ? 'discard' : 'yield';
    this.workers.post(owner, { type, transfer: transfer.id, scope: scopeName, name });
  }

  private answer(from: number, message: Exclude<DirectoryToMain, { type: 'claim' | 'release' }>): void {
    const transfer = this.transfers.get(message.transfer);
    if (transfer === undefined) return; // It was ended by a death while the answer was on its way.
    switch (message.type) {
      case 'yielded':
        this.yielded(transfer, message.state);
        break;
      case 'installed':
        this.installed(transfer, message.epoch);
        break;
      case 'fenced':
        if (transfer.unfenced.delete(from)) this.releaseWhenFenced(transfer);
        break;
      case 'released':
        this.end(transfer, message.state);
        break;
      case 'discarded':
        this.end(transfer, undefined);
        break;
    }
  }

  private yielded(transfer: Transfer, state: unknown): void {
    // The session had ended before the question arrived: nothing to hand over, nobody to fence.
    if (state === undefined) {
      this.end(transfer, undefined);
      return;
    }
    transfer.phase = 'installing';
    const { claimant, request } = transfer.claim;
    this.workers.post(claimant, { type: 'install', transfer: transfer.id, request, state });
  }

  private installed(transfer: Transfer, epoch: number): void {
    transfer.phase = 'fencing';
    transfer.epoch = epoch;
    for (const worker of this.workers.liveWorkers()) {
      if (worker === transfer.owner) continue; // What it routed itself it has delivered to itself.
      transfer.unfenced.add(worker);
      this.workers.post(worker, { type: 'fence', transfer: transfer.id });
    }
    this.releaseWhenFenced(transfer);
  }

  private releaseWhenFenced(transfer: Transfer): void {
    if (transfer.phase !== 'fencing' || transfer.unfenced.size > 0) return;
    transfer.phase = 'releasing';
    const { id, scope, name, epoch } = transfer;
    this.workers.post(transfer.owner, { type: 'release-session', transfer: id, scope, name, epoch });
  }

  private claimantGone(transfer: Transfer): void {
    transfer.claimantGone = true;
    // The former owner is letting go already; its answer ends the transfer and leaves the name without an owner.
    if (transfer.phase === 'releasing' || transfer.phase === 'discarding') return;
    const { owner, scope, name } = transfer;
    this.forget(transfer);
    this.workers.post(owner, { type: 'keep-session', scope, name });
    this.serveWaiting(transfer);
  }

  /** The former owner has let go, or is dead. */
  private end(transfer: Transfer, state: unknown): void {
    const { owners } = this.forget(transfer);
    const { claimant, request } = transfer.claim;
    if (transfer.claimantGone) {
      owners.delete(transfer.name);
    } else {
      owners.set(transfer.name, claimant);
      this.workers.post(claimant, { type: 'granted', request, state });
    }
    this.serveWaiting(transfer);
  }

  private forget(transfer: Transfer): Scope {
    const scope = this.scope(transfer.scope);
    scope.transfers.delete(transfer.name);
    this.transfers.delete(transfer.id);
    return scope;
  }

  private serveWaiting(ended: Transfer): void {
    // The first of them may begin a transfer again; the others then queue behind it in the same order.
    for (const claim of ended.waiting) this.claim(ended.scope, ended.name, claim);
  }
}

function toClaim(claimant: number, message: { request: number; discard: boolean }): Claim {
  return { claimant, request: message.request, discard: message.discard };
}
