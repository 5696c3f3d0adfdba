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
 *
 * Lasting sessions are stored, and outlive their worker: claims of such a name wait for the successor of its worker, which announces
 * what it has found. A hand-over that was cut can leave two copies. At the beginning of the node the one with the higher epoch is the
 * session; later the one that a living worker has, since it was used.
 */
import type { DirectoryToMain } from '../../workers/messages.ts';
import type { WorkerPost } from './broadcast-hub.ts';

interface Claim {
  readonly claimant: number;
  readonly request: number;
  readonly discard: boolean;
  readonly isLasting: boolean;
}

/** A claim of a name whose owner is away. */
interface ParkedClaim {
  readonly scope: string;
  readonly name: string;
  readonly claim: Claim;
}

// An owner is a number: its worker in the lower bits, and what is known of the session.
const workerMask = 0xff;
const lastingBit = 0x100;
/** Its worker died, and the successor has not announced it yet. */
const missingBit = 0x200;

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
  /** The former owner died when the new one had everything. */
  ownerGone: boolean;
  epoch: number;
  readonly unfenced: Set<number>;
}

interface Scope {
  /** Name → owner. One number per session: there may be a million. */
  readonly owners: Map<string, number>;
  /** Epochs of what was announced, while the node begins; null afterwards. */
  found: Map<string, number> | null;
  readonly transfers: Map<string, Transfer>;
}

export class SessionDirectoryHub {
  private readonly workers: WorkerPost;
  private readonly scopes = new Map<string, Scope>();
  private readonly transfers = new Map<number, Transfer>();
  private nextTransfer = 1;
  /** Claims that wait for a worker to come back. */
  private parked: ParkedClaim[] = [];
  private isBeginning = true;

  constructor(workers: WorkerPost) {
    this.workers = workers;
  }

  handle(from: number, message: DirectoryToMain): void {
    if (message.type === 'claim') this.claim(message.scope, message.name, toClaim(from, message));
    else if (message.type === 'lasting') this.becameLasting(from, message.scope, message.name);
    else if (message.type === 'announce') this.announced(from, message.scope, message.names, message.epochs);
    else if (message.type === 'release') this.release(from, message.scope, message.name);
    else this.answer(from, message);
  }

  /** Owner of a session, or undefined. During a hand-over it is the former one. */
  ownerOf(scope: string, name: string): number | undefined {
    const owner = this.scopes.get(scope)?.owners.get(name);
    return owner === undefined ? undefined : owner & workerMask;
  }

  /** The worker has announced all that it has found: what it had and is not among it has ended. */
  resumed(worker: number): void {
    for (const { owners } of this.scopes.values()) {
      for (const [name, owner] of owners) {
        if ((owner & missingBit) !== 0 && (owner & workerMask) === worker) owners.delete(name);
      }
    }
    const parked = this.parked;
    this.parked = [];
    // Those that wait for yet another worker are parked again.
    for (const { scope, name, claim } of parked) this.claim(scope, name, claim);
  }

  /** All workers have announced what they have found for the first time. */
  beginningEnds(): void {
    this.isBeginning = false;
    for (const scope of this.scopes.values()) scope.found = null;
  }

  /** Hand-overs under way. */
  get transferCount(): number {
    return this.transfers.size;
  }

  /** Drops what a dead worker owned and finishes or aborts the hand-overs that it took part in. */
  workerGone(worker: number): void {
    for (const scope of this.scopes.values()) {
      for (const [name, owner] of scope.owners) {
        if ((owner & workerMask) !== worker) continue;
        if ((owner & lastingBit) !== 0) scope.owners.set(name, owner | missingBit);
        else scope.owners.delete(name);
      }
    }
    this.parked = this.parked.filter(({ claim }) => claim.claimant !== worker);
    // A copy, since ending a transfer may begin the next one of the same name.
    for (const transfer of [...this.transfers.values()]) {
      transfer.waiting = transfer.waiting.filter((claim) => claim.claimant !== worker);
      if (transfer.owner === worker) this.ownerGone(transfer);
      else if (transfer.claim.claimant === worker) this.claimantGone(transfer);
      else if (transfer.unfenced.delete(worker)) this.releaseWhenFenced(transfer);
    }
  }

  private scope(name: string): Scope {
    let scope = this.scopes.get(name);
    if (scope === undefined) {
      scope = { owners: new Map(), found: this.isBeginning ? new Map() : null, transfers: new Map() };
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
    if (owner !== undefined && (owner & missingBit) !== 0) {
      this.parked.push({ scope: scopeName, name, claim });
      return;
    }
    if (owner === undefined || (owner & workerMask) === claim.claimant) {
      scope.owners.set(name, ownerOf(claim));
      this.workers.post(claim.claimant, { type: 'granted', request: claim.request, state: undefined });
      return;
    }
    this.begin(scope, scopeName, name, owner & workerMask, claim);
  }

  private becameLasting(from: number, scopeName: string, name: string): void {
    const { owners } = this.scope(scopeName);
    if (owners.get(name) === from) owners.set(name, from | lastingBit);
  }

  private announced(from: number, scopeName: string, names: readonly string[], epochs: readonly number[]): void {
    const scope = this.scope(scopeName);
    const { owners, found } = scope;
    for (const [index, name] of names.entries()) {
      const epoch = epochs[index] ?? 0;
      const owner = owners.get(name);
      const isElsewhere = owner !== undefined && (owner & workerMask) !== from && (owner & missingBit) === 0;
      const former = found?.get(name);
      if (isElsewhere && (former === undefined || former >= epoch)) {
        this.workers.post(from, { type: 'drop-copy', scope: scopeName, name });
        continue;
      }
      if (isElsewhere) this.workers.post(owner & workerMask, { type: 'drop-copy', scope: scopeName, name });
      owners.set(name, from | lastingBit);
      found?.set(name, epoch);
    }
  }

  private release(from: number, scopeName: string, name: string): void {
    const scope = this.scope(scopeName);
    // During a hand-over the former owner answers the questions that follow with "nothing left".
    if (scope.transfers.has(name)) return;
    const owner = scope.owners.get(name);
    if (owner !== undefined && (owner & ~lastingBit) === from) scope.owners.delete(name);
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
      ownerGone: false,
      epoch: 0,
      unfenced: new Set(),
    };
    scope.transfers.set(name, transfer);
    this.transfers.set(transfer.id, transfer);
    const type = claim.discard ? 'discard' : 'yield';
    this.workers.post(owner, { type, transfer: transfer.id, scope: scopeName, name });
  }

  private answer(
    from: number,
    message: Exclude<DirectoryToMain, { type: 'claim' | 'release' | 'lasting' | 'announce' }>,
  ): void {
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
      case 'transfer-failed':
        this.failed(transfer);
        break;
    }
  }

  /** The session stays where it is, and who asked for it is told. */
  private failed(transfer: Transfer): void {
    const { owner, scope, name, claim } = transfer;
    this.forget(transfer);
    if (!transfer.ownerGone) this.workers.post(owner, { type: 'keep-session', scope, name });
    if (!transfer.claimantGone) this.workers.post(claim.claimant, { type: 'refused', request: claim.request });
    this.serveWaiting(transfer);
  }

  /** A session that is stored waits for the worker's successor, unless the claimant has everything, or is about to. */
  private ownerGone(transfer: Transfer): void {
    const { owners } = this.scope(transfer.scope);
    const isStored = ((owners.get(transfer.name) ?? 0) & lastingBit) !== 0;
    if (!isStored || transfer.phase === 'fencing' || transfer.phase === 'releasing') {
      this.end(transfer, undefined);
      return;
    }
    if (transfer.phase === 'installing') {
      transfer.ownerGone = true;
      return;
    }
    const { scope, name, claim } = transfer;
    this.forget(transfer);
    if (!transfer.claimantGone) this.claim(scope, name, claim);
    this.serveWaiting(transfer);
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
    if (transfer.ownerGone) {
      this.end(transfer, undefined);
      return;
    }
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
      owners.set(transfer.name, ownerOf(transfer.claim));
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

function toClaim(claimant: number, message: { request: number; discard: boolean; isLasting: boolean }): Claim {
  const { request, discard, isLasting } = message;
  return { claimant, request, discard, isLasting };
}

function ownerOf({ claimant, isLasting }: Claim): number {
  return isLasting ? claimant | lastingBit : claimant;
}
