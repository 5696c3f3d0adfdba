/**
 * Names that one owner at a time may hold on a node, on whichever worker it lives: exclusive subscriptions, for example.
 * Every worker knows all claims; they are told by broadcast. What is granted on the node is then held against other nodes, where there are
 * some. Thread: one connection worker.
 *
 * A claim is refused at once when another owner's is known here. Otherwise it is told to all workers and decided when
 * each of them has it: broadcasts of one worker arrive in order, so whoever claimed before it had ours is known here by
 * then, and of claims that met on their way the lowest worker's wins on every worker. What has been granted is never
 * taken away by a later claim, since that one is refused where it is made.
 */
import type { ControlPlane } from '../ports/control-plane.ts';
import type { SessionDirectory } from '../ports/session-directory.ts';

const channel = 'exclusive-claims';
const oneNode: HeldNames = { hold: (_name, _owner, decided) => decided(true), letGo: () => undefined };

interface Claim {
  readonly worker: number;
  readonly owner: string;
}

interface ClaimMessage {
  readonly kind: 'claim' | 'release';
  readonly name: string;
  readonly owner: string;
}

/** Names that are held against other nodes; see `SessionDirectory`. */
export type HeldNames = Pick<SessionDirectory, 'hold' | 'letGo'>;

export class ExclusiveClaims {
  private readonly workerIndex: number;
  private readonly control: ControlPlane;
  private readonly nodes: HeldNames;
  /** More than one for a name only while claims meet, or while an owner moves from worker to worker. */
  private readonly claims = new Map<string, Claim[]>();

  constructor(workerIndex: number, control: ControlPlane, nodes: HeldNames = oneNode) {
    this.workerIndex = workerIndex;
    this.control = control;
    this.nodes = nodes;
    control.onBroadcast(channel, (from, payload) => this.onMessage(from, payload as ClaimMessage));
    control.onWorkerGone((worker) => this.dropWorker(worker));
    control.onWorkerReady(() => this.announceAll());
  }

  /**
   * Claims `name` for `owner` on this worker; `decided` is called once, at once where nobody has to be asked. An owner
   * that holds the name already, here or on another worker, is granted it.
   */
  claim(name: string, owner: string, decided: (isGranted: boolean) => void): void {
    if (this.holders(name).some((claim) => claim.owner !== owner)) {
      decided(false);
      return;
    }
    this.add(name, { worker: this.workerIndex, owner });
    this.control.broadcast(channel, { kind: 'claim', name, owner } satisfies ClaimMessage, () => {
      if (this.isOurs(name, owner)) {
        this.nodes.hold(name, owner, (isGranted) => this.decide(name, owner, isGranted, decided));
        return;
      }
      this.release(name, owner);
      decided(false);
    });
  }

  private decide(name: string, owner: string, isGranted: boolean, decided: (isGranted: boolean) => void): void {
    const isStillOurs = this.isOurs(name, owner);
    // Given back while the other nodes were asked.
    if (isGranted && !isStillOurs) this.nodes.letGo(name, owner);
    if (!isGranted) this.release(name, owner);
    decided(isGranted && isStillOurs);
  }

  /** Gives the name back. Does nothing when `owner` does not hold it on this worker. */
  release(name: string, owner: string): void {
    if (!this.remove(name, (claim) => claim.worker === this.workerIndex && claim.owner === owner)) return;
    this.nodes.letGo(name, owner);
    this.control.broadcast(channel, { kind: 'release', name, owner } satisfies ClaimMessage, () => undefined);
  }

  /** Names that are held on the node. */
  get count(): number {
    return this.claims.size;
  }

  private holders(name: string): readonly Claim[] {
    return this.claims.get(name) ?? [];
  }

  private isOurs(name: string, owner: string): boolean {
    const claims = this.holders(name);
    const isMine = claims.some((claim) => claim.worker === this.workerIndex && claim.owner === owner);
    return isMine && !claims.some((claim) => claim.owner !== owner && claim.worker < this.workerIndex);
  }

  private add(name: string, claim: Claim): void {
    const others = this.holders(name).filter((one) => one.worker !== claim.worker || one.owner !== claim.owner);
    this.claims.set(name, [...others, claim]);
  }

  private remove(name: string, matches: (claim: Claim) => boolean): boolean {
    const claims = this.holders(name);
    const left = claims.filter((claim) => !matches(claim));
    if (left.length === 0) this.claims.delete(name);
    else this.claims.set(name, left);
    return left.length < claims.length;
  }

  private onMessage(from: number, { kind, name, owner }: ClaimMessage): void {
    if (kind === 'claim') this.add(name, { worker: from, owner });
    else this.remove(name, (claim) => claim.worker === from && claim.owner === owner);
  }

  private dropWorker(worker: number): void {
    for (const name of [...this.claims.keys()]) this.remove(name, (claim) => claim.worker === worker);
  }

  /** A worker came that knows nothing yet; the others know it already. */
  private announceAll(): void {
    for (const [name, claims] of this.claims) {
      for (const { worker, owner } of claims) {
        if (worker !== this.workerIndex) continue;
        this.control.broadcast(channel, { kind: 'claim', name, owner } satisfies ClaimMessage, () => undefined);
      }
    }
  }
}
