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
 *
 * In a cluster a name that is not known to be this node's is first taken from the other nodes (`node-sessions.ts`); what comes of that is
 * served as above. A claim of another node takes its turn among the others; what is left of the session goes there in parts.
 */
import type { DirectoryToMain } from '../../workers/messages.ts';
import type { WorkerPost } from './broadcast-hub.ts';

interface Claim {
  readonly claimant: number;
  readonly request: number;
  readonly discard: boolean;
  readonly isLasting: boolean;
  /** Another node asks. */
  readonly remote: RemoteClaim | null;
}

/** What comes of a claim of another node. */
export interface RemoteClaim {
  /** The session stands still: `departurePart` and `endDeparture` follow, with this number. */
  departing(departure: number): void;
  /** There is none, or it has ended. */
  none(): void;
  /** The session cannot be handed over now, or what was begun is void. */
  failed(): void;
}

/** The way of a session from another node to the worker that claims it. Each rejects with why it cannot be taken. */
export interface ArrivalPipe {
  begin(): Promise<void>;
  part(bytes: Uint8Array): Promise<void>;
  end(epoch: number): Promise<void>;
  abort(): void;
}

export interface NameWanted {
  readonly scope: string;
  readonly name: string;
  readonly discard: boolean;
  readonly isLasting: boolean;
  /** A session of the name is known on this node. */
  readonly isHere: boolean;
  readonly arrival: ArrivalPipe;
}

/** `epoch`: number of the last move of the name to this node. */
export type NameTaken = { readonly isOurs: true; readonly epoch: number } | { readonly isOurs: false };

/** The other nodes, as the hub sees them. */
export interface OtherNodes {
  /** Whether the name has to be taken before it is served here. */
  wants(scope: string, name: string, isLasting: boolean): boolean;
  /** Never rejects. */
  take(wanted: NameWanted): Promise<NameTaken>;
  /** No session of the name is here any more. */
  ended(scope: string, name: string): void;
  /** A client of this node waits for a session that departs. */
  wantedHere(scope: string, name: string): void;
}

/** No worker. */
const nobody = -1;

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

type Phase = 'yielding' | 'installing' | 'fencing' | 'releasing' | 'discarding' | 'taking' | 'departing' | 'departed';

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
  private hasStored = true;
  /** Workers whose stored sessions are all known. */
  private readonly opened = new Set<number>();
  /** Null while the node is alone. */
  private nodes: OtherNodes | null = null;
  /** Kinds of sessions that can go from node to node. */
  private readonly movingScopes = new Set<string>();
  /** A worker has said all that it has. */
  onOwned: (worker: number) => void = () => undefined;
  /** Answers of workers to parts of sessions that arrive, by worker and request. */
  private readonly arriving = new Map<string, PromiseWithResolvers<void>>();
  /** Those who wait for a part of a session that departs. */
  private readonly parts = new Map<number, PromiseWithResolvers<Uint8Array | null>>();

  constructor(workers: WorkerPost) {
    this.workers = workers;
  }

  handle(from: number, message: DirectoryToMain): void {
    if (message.type === 'claim') this.claim(message.scope, message.name, toClaim(from, message));
    else if (message.type === 'lasting') this.becameLasting(from, message.scope, message.name);
    else if (message.type === 'announce') this.announced(from, message.scope, message.names, message.epochs);
    else if (message.type === 'release') this.release(from, message.scope, message.name);
    else if (message.type === 'owned') this.owned(from, message);
    else if (message.type === 'arrival-taken') this.arrivalTaken(from, message.request, message.problem);
    else this.answer(from, message);
  }

  /** Owner of a session, or undefined. During a hand-over it is the former one. */
  ownerOf(scope: string, name: string): number | undefined {
    const owner = this.scopes.get(scope)?.owners.get(name);
    return owner === undefined ? undefined : owner & workerMask;
  }

  /** The worker has announced all that it has found: what it had and is not among it has ended. */
  resumed(worker: number): void {
    this.opened.add(worker);
    for (const [scope, { owners }] of this.scopes) {
      for (const [name, owner] of owners) {
        if ((owner & missingBit) !== 0 && (owner & workerMask) === worker) this.lose(scope, owners, name);
      }
    }
    const parked = this.parked;
    this.parked = [];
    // Those that wait for yet another worker are parked again.
    for (const { scope, name, claim } of parked) this.claim(scope, name, claim);
  }

  /** All workers have announced what they have found for the first time, or could not. `hasStored`: there may be stored sessions. */
  beginningEnds(hasStored = true): void {
    this.isBeginning = false;
    this.hasStored = hasStored;
    for (const scope of this.scopes.values()) scope.found = null;
  }

  /** Hand-overs under way. */
  get transferCount(): number {
    return this.transfers.size;
  }

  /** Drops what a dead worker owned and finishes or aborts the hand-overs that it took part in. */
  workerGone(worker: number): void {
    this.opened.delete(worker);
    for (const [scope, { owners }] of this.scopes) {
      for (const [name, owner] of owners) {
        if ((owner & workerMask) !== worker) continue;
        if ((owner & lastingBit) !== 0) owners.set(name, owner | missingBit);
        else this.lose(scope, owners, name);
      }
    }
    this.parked = this.parked.filter(({ claim }) => claim.claimant !== worker);
    for (const [key, answer] of this.arriving) {
      if (key.startsWith(`${worker}:`)) answer.reject(new Error('its worker died'));
    }
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
      if (running.phase === 'departed' && claim.remote === null) this.nodes?.wantedHere(scopeName, name);
      return;
    }
    const owner = scope.owners.get(name);
    if (owner !== undefined && (owner & missingBit) !== 0) {
      this.parked.push({ scope: scopeName, name, claim });
      return;
    }
    if (claim.remote !== null) {
      if (owner === undefined) claim.remote.none();
      else this.begin(scope, scopeName, name, owner & workerMask, claim);
      return;
    }
    if (this.nodes?.wants(scopeName, name, claim.isLasting) === true && this.movingScopes.has(scopeName)) {
      void this.take(this.nodes, scope, scopeName, name, claim);
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
    if (owner === undefined || (owner & ~lastingBit) !== from) return;
    this.lose(scopeName, scope.owners, name);
  }

  /** There is no session of the name any more. */
  private lose(scope: string, owners: Map<string, number>, name: string): void {
    owners.delete(name);
    this.nodes?.ended(scope, name);
  }

  private begin(scope: Scope, scopeName: string, name: string, owner: number, claim: Claim): void {
    const type = claim.discard ? 'discard' : claim.remote === null ? 'yield' : 'depart';
    const transfer = this.open(scope, scopeName, name, owner, claim, firstPhases[type]);
    this.workers.post(owner, { type, transfer: transfer.id, scope: scopeName, name });
  }

  private open(scope: Scope, scopeName: string, name: string, owner: number, claim: Claim, phase: Phase): Transfer {
    const id = this.nextTransfer++;
    const state = { claimantGone: false, ownerGone: false, epoch: 0, unfenced: new Set<number>() };
    const transfer: Transfer = { id, scope: scopeName, name, owner, claim, waiting: [], phase, ...state };
    scope.transfers.set(name, transfer);
    this.transfers.set(id, transfer);
    return transfer;
  }

  private answer(
    from: number,
    message: Exclude<
      DirectoryToMain,
      { type: 'claim' | 'release' | 'lasting' | 'announce' | 'owned' | 'arrival-taken' }
    >,
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
      case 'departing':
        this.departing(transfer, message.hasState);
        break;
      case 'departure-part':
        this.takeWaiting(transfer.id)?.resolve(message.part);
        break;
    }
  }

  /** The session stays where it is, and who asked for it is told. */
  private failed(transfer: Transfer): void {
    const { owner, scope, name, claim } = transfer;
    this.forget(transfer);
    if (claim.remote !== null) {
      this.departureFailed(transfer, claim.remote);
      return;
    }
    if (!transfer.ownerGone) this.workers.post(owner, { type: 'keep-session', scope, name });
    if (!transfer.claimantGone) this.workers.post(claim.claimant, { type: 'refused', request: claim.request });
    this.serveWaiting(transfer);
  }

  /** A session that is stored waits for the worker's successor, unless the claimant has everything, or is about to. */
  private ownerGone(transfer: Transfer): void {
    const { remote } = transfer.claim;
    // What is taken from other nodes is served when that is over, and waits for the worker's successor then.
    if (transfer.phase === 'taking') return;
    if (remote !== null) {
      this.forget(transfer);
      this.takeWaiting(transfer.id)?.reject(new Error('the worker of the session died'));
      remote.failed();
      this.serveWaiting(transfer);
      return;
    }
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
    if (transfer.phase === 'taking') return;
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
    const { claimant, request, remote } = transfer.claim;
    if (remote !== null) {
      owners.delete(transfer.name);
      remote.none();
    } else if (transfer.claimantGone) {
      owners.delete(transfer.name);
      this.nodes?.ended(transfer.scope, transfer.name);
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

  // ---- with other nodes

  /** Null: there are none any more. */
  setNodes(nodes: OtherNodes | null): void {
    this.nodes = nodes;
  }

  /** Whether every session of this node is known: only then others can be told that there is none. */
  get isServing(): boolean {
    if (this.isBeginning) return false;
    return !this.hasStored || this.workers.liveWorkers().every((worker) => this.opened.has(worker));
  }

  /** Visits every session that is known here: its name, and whether it is stored. */
  forEachName(visit: (scope: string, name: string, isLasting: boolean) => void): void {
    for (const [scopeName, { owners }] of this.scopes) {
      for (const [name, owner] of owners) visit(scopeName, name, (owner & lastingBit) !== 0);
    }
  }

  has(scopeName: string, name: string): boolean {
    const scope = this.scopes.get(scopeName);
    return scope !== undefined && (scope.owners.has(name) || scope.transfers.has(name));
  }

  /** Another node wants the session, or with `discard` only that it ends here. */
  claimForNode(scopeName: string, name: string, discard: boolean, remote: RemoteClaim): void {
    this.claim(scopeName, name, { claimant: nobody, request: 0, discard, isLasting: false, remote });
  }

  /** The next part of a session that departs; null behind the last one. Rejects when the departure is void. */
  departurePart(departure: number): Promise<Uint8Array | null> {
    const transfer = this.transfers.get(departure);
    if (transfer?.phase !== 'departed' || this.parts.has(departure)) {
      return Promise.reject(new Error('there is no such departure, or a part is under way'));
    }
    const waiting = Promise.withResolvers<Uint8Array | null>();
    this.parts.set(departure, waiting);
    this.workers.post(transfer.owner, { type: 'depart-part', transfer: departure });
    return waiting.promise;
  }

  /** A departure is over: the session is elsewhere, or stays. */
  endDeparture(departure: number, isKept: boolean): void {
    const transfer = this.transfers.get(departure);
    if (transfer?.phase !== 'departed') return;
    const { owner, scope, name } = transfer;
    const { owners } = this.forget(transfer);
    this.takeWaiting(departure)?.reject(new Error('the departure is over'));
    this.workers.post(owner, { type: 'depart-end', transfer: departure, scope, name, isKept });
    if (!isKept) owners.delete(name);
    this.serveWaiting(transfer);
  }

  /** Another node has the name: what is here is an older copy. */
  dropCopy(scopeName: string, name: string): void {
    const scope = this.scopes.get(scopeName);
    const owner = scope?.owners.get(name);
    if (scope === undefined || owner === undefined) return;
    // Its worker's successor announces it again, and is told then.
    scope.owners.delete(name);
    this.workers.post(owner & workerMask, { type: 'drop-copy', scope: scopeName, name });
  }

  private async take(nodes: OtherNodes, scope: Scope, scopeName: string, name: string, claim: Claim): Promise<void> {
    const owner = scope.owners.get(name);
    const transfer = this.open(
      scope,
      scopeName,
      name,
      owner === undefined ? nobody : owner & workerMask,
      claim,
      'taking',
    );
    const arrival = this.arrivalOf(transfer);
    const isHere = owner !== undefined;
    const { discard, isLasting } = claim;
    const taken = await nodes.take({ scope: scopeName, name, discard, isLasting, isHere, arrival });
    this.forget(transfer);
    const holder = scope.owners.get(name);
    if (!taken.isOurs) {
      if (!transfer.claimantGone) this.workers.post(claim.claimant, { type: 'refused', request: claim.request });
    } else {
      // Before anything else is done with the session.
      const worker = holder === undefined ? claim.claimant : holder & workerMask;
      this.workers.post(worker, { type: 'settle-arrival', scope: scopeName, name, epoch: taken.epoch });
      if (!transfer.claimantGone) this.claim(scopeName, name, claim);
      else if (holder === undefined && !isLasting) nodes.ended(scopeName, name);
    }
    this.serveWaiting(transfer);
  }

  private arrivalOf(transfer: Transfer): ArrivalPipe {
    const { claimant, request } = transfer.claim;
    const key = `${claimant}:${request}`;
    const ask = (message: Parameters<WorkerPost['post']>[1]): Promise<void> => {
      if (transfer.claimantGone) return Promise.reject(new Error('its worker died'));
      const waiting = Promise.withResolvers<void>();
      this.arriving.set(key, waiting);
      this.workers.post(claimant, message);
      return waiting.promise.finally(() => this.arriving.delete(key));
    };
    return {
      begin: () => ask({ type: 'arrive', request }),
      part: (part) => ask({ type: 'arrival-part', request, part }),
      end: (epoch) => ask({ type: 'arrival-end', request, epoch }),
      abort: () => {
        if (!transfer.claimantGone) this.workers.post(claimant, { type: 'arrival-abort', request });
      },
    };
  }

  private arrivalTaken(from: number, request: number, problem: string | null): void {
    const waiting = this.arriving.get(`${from}:${request}`);
    if (problem === null) waiting?.resolve();
    else waiting?.reject(new Error(problem));
  }

  private departing(transfer: Transfer, hasState: boolean): void {
    const { remote } = transfer.claim;
    if (remote === null) return;
    if (!hasState) {
      this.end(transfer, undefined);
      return;
    }
    transfer.phase = 'departed';
    remote.departing(transfer.id);
    if (transfer.waiting.some(({ remote: other }) => other === null))
      this.nodes?.wantedHere(transfer.scope, transfer.name);
  }

  private departureFailed(transfer: Transfer, remote: RemoteClaim): void {
    const { id, owner, scope, name } = transfer;
    this.takeWaiting(id)?.reject(new Error('the session cannot be read'));
    this.workers.post(owner, { type: 'depart-end', transfer: id, scope, name, isKept: true });
    remote.failed();
    this.serveWaiting(transfer);
  }

  private takeWaiting(departure: number): PromiseWithResolvers<Uint8Array | null> | undefined {
    const waiting = this.parts.get(departure);
    this.parts.delete(departure);
    return waiting;
  }

  /** What a worker had before the node had neighbours. */
  private owned(
    from: number,
    { scope, lasting, live, isLast }: Extract<DirectoryToMain, { readonly type: 'owned' }>,
  ): void {
    if (isLast) {
      this.onOwned(from);
      return;
    }
    this.movingScopes.add(scope);
    const { owners } = this.scope(scope);
    for (const name of lasting) if (!owners.has(name)) owners.set(name, from | lastingBit);
    for (const name of live) if (!owners.has(name)) owners.set(name, from);
  }

  private serveWaiting(ended: Transfer): void {
    // The first of them may begin a transfer again; the others then queue behind it in the same order.
    for (const claim of ended.waiting) this.claim(ended.scope, ended.name, claim);
  }
}

function toClaim(claimant: number, message: { request: number; discard: boolean; isLasting: boolean }): Claim {
  const { request, discard, isLasting } = message;
  return { claimant, request, discard, isLasting, remote: null };
}

const firstPhases = { yield: 'yielding', discard: 'discarding', depart: 'departing' } as const;

function ownerOf({ claimant, isLasting }: Claim): number {
  return isLasting ? claimant | lastingBit : claimant;
}
