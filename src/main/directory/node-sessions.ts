/**
 * The sessions of a node in a cluster: which names are its own is said by records in the placement centre, one for each name, changed only
 * where they are as they were read. Taking a name from another node carries its session over first. Main thread; loaded when the node has
 * neighbours, and only then.
 *
 *   claimant                               former owner
 *   reads the record: it is the other's
 *   depart                             →   cuts the client, and the session stands still
 *   pull, pull, …                      →   parts of it; stored here, of no use yet
 *   puts its own record in the place of the one that it has read, with a new epoch: from here on the session is the claimant's
 *   settle                             →   reads the record; forgets the session
 *
 * When the claimant gives up or dies before it has put its record, the former owner finds its own, puts it anew so that nothing that is still
 * under way can replace it, and goes on. When the former owner dies meanwhile the claimant has everything, or nothing. What it has without
 * the record is forgotten when it looks at the name again: the epoch of the record says which move was the last one.
 *
 * A record that another node has put is seen by the watch, too: a session that is still here is an older copy, and ends.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlacementError, type PlacementNode } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';
import { sessionNodeKind } from '../../raft/placement/records/session-node.ts';
import { sessionOwnerKind } from '../../raft/placement/records/session-owner.ts';
import { SessionRequest, SessionResponse } from '../../rpc/generated/ringmq/node/v1/session.ts';
import { NodeCallError, type NodeCalls } from '../placement/node-calls.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { Departures } from './departures.ts';
import { type Known, keyName, OwnerRecords } from './owner-records.ts';
import type { NameTaken, NameWanted, OtherNodes, SessionDirectoryHub } from './session-directory-hub.ts';

export const callSubject = 'sessions';

export interface NodeSessionsOptions {
  readonly placement: PlacementNode;
  readonly calls: NodeCalls;
  readonly nodes: ClusterNodes;
  readonly hub: SessionDirectoryHub;
  /** Name of this node. */
  readonly node: string;
  /** Incarnation of this node; 0 while it is not registered. */
  nodeEpoch(): number;
  /** How long a node may be gone before what it has is given up, ms; 0: until it is removed. */
  readonly ownerLostAfterMs: number;
  readonly waits: NodeWaits;
  readonly log: Logger;
}

/** How long nodes wait for each other, ms. */
export interface NodeWaits {
  /** A client, for the node that has its session, or for a leader of the placement centre. */
  readonly takeMs: number;
  /** The former owner of a session that moves, for the next question of the new one. */
  readonly silenceMs: number;
}

export const nodeWaits: NodeWaits = { takeMs: 2_500, silenceMs: 5_000 };

type OwnerRecord = ReturnType<typeof sessionOwnerKind.decode>;
type Found = Known<OwnerRecord>;

/** One that is here. */
interface Session {
  readonly scope: string;
  readonly name: string;
  readonly isLasting: boolean;
}

interface Own extends Session {
  readonly revision: number;
}

const retryMs = 100;
const callMs = 2_000;
/** A part is read from the disk there, and the disk may be busy. */
const pullMs = 20_000;
const discardMs = 1_000;
const sweepRetryMs = 1_000;
const createdAtOnce = 64;
const removalsMax = 64;

export class NodeSessions implements OtherNodes {
  readonly #options: NodeSessionsOptions;
  readonly #owners: OwnerRecords<OwnerRecord>;
  readonly #looked: OwnerRecords<ReturnType<typeof sessionNodeKind.decode>>;
  readonly #departures: Departures;
  /** Names that are this node's in this life, by key. */
  readonly #own = new Map<string, Own>();
  /** Records of this node from a life before, of names that are not its own in this one yet: their revisions, by key. */
  readonly #former = new Map<string, number>();
  /** Records that are being removed, by key. */
  readonly #removing = new Map<string, Promise<void>>();
  #removals: (() => Promise<void>)[] = [];
  #removalCount = 0;
  /** Members whose sessions have no records yet, perhaps. */
  readonly #unknown = new Set<string>();
  #watch: { cancel(): void } | null = null;
  #isClosed = false;

  constructor(options: NodeSessionsOptions) {
    this.#options = options;
    const { placement, hub } = options;
    this.#owners = new OwnerRecords(placement, sessionOwnerKind);
    this.#looked = new OwnerRecords(placement, sessionNodeKind);
    this.#departures = new Departures(hub, options.waits.silenceMs, (scope, name) => this.#isElsewhere(scope, name));
    options.calls.serve(callSubject, (from, body) => this.#answer(from, body));
    for (const node of options.nodes.others()) this.#unknown.add(node);
  }

  /** Makes known what is here, and follows what others take. Called when the workers have said what they have; goes on in the background. */
  begin(): void {
    void this.#sweep();
  }

  /** Another node has come. */
  memberCame(node: string): void {
    this.#unknown.add(node);
  }

  /** The node stops, or is alone again. */
  close(): void {
    this.#isClosed = true;
    this.#watch?.cancel();
    this.#departures.close();
  }

  // ---- OtherNodes

  wants(scope: string, name: string, isLasting: boolean): boolean {
    const own = this.#own.get(keyOf(scope, name));
    return own === undefined || (isLasting && !own.isLasting);
  }

  async take(wanted: NameWanted): Promise<NameTaken> {
    const { name } = wanted;
    const { log } = this.#options;
    const limit = performance.now() + this.#options.waits.takeMs;
    let reason = 'its owner is busy';
    let delay = 0;
    do {
      try {
        if (delay > 0) await sleep(delay);
        delay = retryMs;
        await this.#removing.get(keyOf(wanted.scope, name));
        const taken = await this.#tryToTake(wanted);
        if (typeof taken === 'number') return { isOurs: true, epoch: taken };
        reason = taken;
      } catch (error) {
        reason = reasonOf(error);
      }
    } while (performance.now() < limit && !this.#isClosed);
    log.warn('Client is refused: its session cannot be taken over', { scope: wanted.scope, name, reason });
    return { isOurs: false };
  }

  ended(scope: string, name: string): void {
    if (this.#isClosed) return;
    const key = keyOf(scope, name);
    const revision = this.#own.get(key)?.revision ?? this.#former.get(key);
    if (revision === undefined) return;
    this.#own.delete(key);
    this.#former.delete(key);
    const removed = Promise.withResolvers<void>();
    this.#removing.set(key, removed.promise);
    this.#removals.push(async () => {
      // Left behind it would only make others ask this node in vain; the next sweep removes it.
      await this.#owners.remove(revision, scope, keyName(name)).catch((error: unknown) => void reasonOf(error));
      if (this.#removing.get(key) === removed.promise) this.#removing.delete(key);
      removed.resolve();
    });
    this.#removeNext();
  }

  wantedHere(scope: string, name: string): void {
    this.#departures.hurry(scope, name);
  }

  #removeNext(): void {
    while (this.#removalCount < removalsMax) {
      const removal = this.#removals.shift();
      if (removal === undefined) return;
      this.#removalCount += 1;
      void removal().finally(() => {
        this.#removalCount -= 1;
        this.#removeNext();
      });
    }
  }

  // ---- taking a name

  /** The epoch of the record, or why not now. */
  async #tryToTake(wanted: NameWanted): Promise<number | string> {
    const { scope, name, isHere, discard } = wanted;
    if (this.#options.nodeEpoch() === 0) return 'this node is not registered in the cluster yet';
    const own = this.#own.get(keyOf(scope, name));
    let known = own === undefined ? null : await this.#read(scope, name);
    if (own === undefined) {
      if (!isHere && !discard) {
        const problem = await this.#askUnknown(scope, name);
        if (problem !== null) return problem;
      }
      const put = await this.#put(wanted, null, newEpoch());
      if (typeof put === 'number') return put;
      known = put;
    }
    if (known === null) return 'its record has just been removed';
    const { record } = known;
    if (record.node === this.#options.node) return this.#confirm(wanted, known);
    if (discard) return this.#replace(wanted, known);
    return this.#carryOver(wanted, known);
  }

  /** The record is this node's: maybe of a former life, or of a session that was not lasting. */
  async #confirm(wanted: NameWanted, known: Found): Promise<number | string> {
    const { record } = known;
    const isSame = record.nodeEpoch === this.#options.nodeEpoch() && (record.isLasting || !wanted.isLasting);
    if (isSame) {
      this.#note(wanted, known.revision, record.isLasting);
      return record.sessionEpoch;
    }
    // Anew, so that nothing that another node began with the former life of this one can go on.
    const put = await this.#put(wanted, known, record.sessionEpoch);
    return typeof put === 'number' ? put : 'another node wants it at the same time';
  }

  /** Nothing of the former session is wanted. */
  async #replace(wanted: NameWanted, known: Found): Promise<number | string> {
    const { scope, name } = wanted;
    const put = await this.#put(wanted, known, known.record.sessionEpoch + 1);
    if (typeof put !== 'number') return 'another node wants it at the same time';
    const discard = { $case: 'discard', value: {} } as const;
    // Its client is told before the new one is answered, if that is quick; else the node sees it by the record.
    await this.#ask(known.record.node, scope, name, discard, discardMs).catch((error: unknown) => void reasonOf(error));
    return put;
  }

  async #carryOver(wanted: NameWanted, known: Found): Promise<number | string> {
    const { scope, name } = wanted;
    const { node } = known.record;
    let answer: SessionResponse['answer'];
    try {
      answer = await this.#ask(node, scope, name, { $case: 'depart', value: {} }, callMs);
    } catch (error) {
      if (!(error instanceof NodeCallError)) throw error;
      return this.#withoutOwner(wanted, known, error.message);
    }
    if (answer?.$case === 'none') {
      if (known.record.isLasting) this.#options.log.info('Session has ended where it was', { scope, name, node });
      if (wanted.isHere) this.#options.hub.dropCopy(scope, name);
      const put = await this.#put(wanted, known, known.record.sessionEpoch + 1);
      return typeof put === 'number' ? put : 'another node wants it at the same time';
    }
    if (answer?.$case !== 'departing') return `node "${node}" is busy with it`;
    try {
      return await this.#bring(wanted, known, answer.value.departure);
    } finally {
      // Also after a failure: then it goes on there at once.
      this.#ask(node, scope, name, { $case: 'settle', value: {} }, callMs).catch(
        (error: unknown) => void reasonOf(error),
      );
    }
  }

  async #bring(wanted: NameWanted, known: Found, departure: number): Promise<number | string> {
    const { scope, name, arrival } = wanted;
    const { node, sessionEpoch } = known.record;
    const epoch = sessionEpoch + 1;
    if (wanted.isHere) this.#options.hub.dropCopy(scope, name);
    await arrival.begin();
    try {
      for (;;) {
        const answer = await this.#ask(node, scope, name, { $case: 'pull', value: { departure } }, pullMs);
        if (answer?.$case !== 'chunk') return `node "${node}" does not give it away any more`;
        const { bytes } = answer.value;
        if (bytes.length === 0) break;
        await arrival.part(bytes);
      }
      await arrival.end(epoch);
    } catch (error) {
      arrival.abort();
      throw error;
    }
    const put = await this.#put(wanted, known, epoch);
    if (typeof put !== 'number') return 'another node wants it at the same time';
    this.#options.log.info('Session has come from another node', { scope, name, node });
    return put;
  }

  /** The node that has the session does not answer. */
  async #withoutOwner(wanted: NameWanted, known: Found, problem: string): Promise<number | string> {
    const { scope, name } = wanted;
    const { record } = known;
    const { nodes, ownerLostAfterMs, log } = this.#options;
    const fate = await nodes.fateOf(record.node, ownerLostAfterMs);
    const isVoid = fate === 'lost' || (fate === 'gone' && !record.isLasting);
    if (!isVoid) return `node "${record.node}" has it. ${problem}`;
    if (wanted.isHere) this.#options.hub.dropCopy(scope, name);
    const put = await this.#put(wanted, known, record.sessionEpoch + 1);
    if (typeof put !== 'number') return 'another node wants it at the same time';
    if (record.isLasting)
      log.warn('Session is given up: the node that had it is lost', { scope, name, node: record.node });
    return put;
  }

  /**
   * Nodes whose sessions have no records yet are asked whether they have it: if so there is a record afterwards. Answers why that cannot be
   * said now.
   */
  async #askUnknown(scope: string, name: string): Promise<string | null> {
    const { nodes } = this.#options;
    for (const node of [...this.#unknown]) {
      if ((await this.#looked.read(node)) !== null || !(await nodes.hasServed(node))) {
        this.#unknown.delete(node);
        continue;
      }
      const answer = await this.#ask(node, scope, name, { $case: 'locate', value: {} }, callMs);
      if (answer?.$case !== 'done' && answer?.$case !== 'none') return `node "${node}" does not know its sessions yet`;
    }
    return null;
  }

  // ---- records

  #read(scope: string, name: string): Promise<Found | null> {
    return this.#owners.read(scope, keyName(name));
  }

  /** Puts this node's record in the place of `known`. Answers its epoch, or what is there instead. */
  async #put(
    { scope, name, isLasting }: Pick<NameWanted, 'scope' | 'name' | 'isLasting'>,
    known: Found | null,
    sessionEpoch: number,
  ): Promise<number | Found | null> {
    const { node, nodeEpoch } = this.#options;
    const remains = isLasting || (known?.record.node === node && known.record.isLasting);
    const record = {
      ...{ scope, name: keyName(name), node, nodeEpoch: nodeEpoch(), sessionEpoch },
      ...{ isLasting: remains, takenAtMs: Date.now() },
    };
    const put = await this.#owners.put(record, known?.revision ?? 0, scope, keyName(name));
    if (!put.isDone) return put.known;
    this.#note({ scope, name }, put.revision, remains);
    return sessionEpoch;
  }

  #note({ scope, name }: Pick<NameWanted, 'scope' | 'name'>, revision: number, isLasting: boolean): void {
    const key = keyOf(scope, name);
    this.#own.set(key, { scope, name, revision, isLasting });
    this.#former.delete(key);
  }

  /** Looks up who owns a session that departs. Still this node: the record is put anew, so that the move cannot end any more. */
  async #isElsewhere(scope: string, name: string): Promise<boolean> {
    for (;;) {
      const known = await this.#read(scope, name);
      if (known !== null && known.record.node !== this.#options.node) {
        this.#own.delete(keyOf(scope, name));
        return true;
      }
      const wanted = { scope, name, isLasting: known?.record.isLasting ?? true };
      const put = await this.#put(wanted, known, known?.record.sessionEpoch ?? newEpoch());
      if (typeof put === 'number') return false;
    }
  }

  // ---- what is here, and what others take

  async #sweep(): Promise<void> {
    const { log, node } = this.#options;
    while (!this.#isClosed) {
      try {
        this.#watch?.cancel();
        const revision = await this.#compare();
        if (this.#isClosed) return;
        this.#watch = this.#owners.watch(
          revision + 1,
          (known) => this.#seen(known),
          () => this.#watchEnded(),
        );
        const known = await this.#looked.read(node);
        if (known === null) await this.#looked.put({ node, sinceMs: Date.now() }, 0, node);
        return;
      } catch (error) {
        log.debug('sessions are not compared with those of other nodes yet', { reason: reasonOf(error) });
        await sleep(sweepRetryMs);
      }
    }
  }

  #watchEnded(): void {
    if (this.#isClosed) return;
    setTimeout(() => void this.#sweep(), sweepRetryMs).unref();
  }

  /** Every session here gets a record; older copies end; records of this node without a session go. Answers the revision that was read. */
  async #compare(): Promise<number> {
    const { hub, node, nodeEpoch } = this.#options;
    if (nodeEpoch() === 0 || !hub.isServing) throw new PlacementError('NO_LEADER', 'the node is not registered yet');
    const here = new Map<string, Session>();
    hub.forEachName((scope, name, isLasting) => here.set(keyOf(scope, name), { scope, name, isLasting }));
    const idle: Found[] = [];
    const foreign: { readonly known: Found; readonly session: Session }[] = [];
    const revision = await this.#owners.forEach((known) => {
      const key = keyIn(known.record);
      const session = here.get(key);
      here.delete(key);
      if (known.record.node !== node) {
        if (session !== undefined) foreign.push({ known, session });
      } else if (this.#own.has(key)) return;
      else if (session === undefined) idle.push(known);
      else this.#former.set(key, known.revision);
    });
    for (const { known, session } of foreign) await this.#settleForeign(known, session);
    for (const { record, revision: at } of idle) {
      if (record.nodeEpoch < nodeEpoch()) await this.#owners.remove(at, record.scope, record.name);
    }
    const missing = [...here.values()].filter(({ scope, name }) => !this.#own.has(keyOf(scope, name)));
    for (let at = 0; at < missing.length; at += createdAtOnce)
      await this.#create(missing.slice(at, at + createdAtOnce));
    return revision;
  }

  /** Another node has the record of a session that is here: unless that node is lost, what is here is an older copy. */
  async #settleForeign(known: Found, session: Session): Promise<void> {
    const { nodes } = this.#options;
    const isLost = (await nodes.fateOf(known.record.node, 0)) === 'lost';
    const put = isLost ? await this.#put(session, known, known.record.sessionEpoch + 1) : known;
    if (typeof put !== 'number' && put !== null) this.#seen(put, session);
  }

  async #create(sessions: readonly Session[]): Promise<void> {
    const { node, nodeEpoch, hub } = this.#options;
    const records = sessions.map(({ scope, name, isLasting }) => {
      const own = { node, nodeEpoch: nodeEpoch(), sessionEpoch: newEpoch(), isLasting, takenAtMs: Date.now() };
      return { record: { scope, name: keyName(name), ...own }, key: [scope, keyName(name)] };
    });
    const revision = await this.#owners.create(records);
    for (const session of sessions) {
      const { scope, name } = session;
      if (revision !== null) this.#note(session, revision, session.isLasting);
      else if (!this.#own.has(keyOf(scope, name))) {
        const put = await this.#put(session, null, newEpoch());
        if (typeof put !== 'number' && put !== null) this.#seen(put, session);
      }
      // It ended while its record was written.
      if (!hub.has(scope, name)) this.ended(scope, name);
    }
  }

  /** A record was put, or found. `session`: what is here of it, where that is not known to be this node's. */
  #seen({ record, revision }: Found, session?: { readonly scope: string; readonly name: string }): void {
    const { node, hub } = this.#options;
    if (record.node === node) return;
    const key = keyIn(record);
    const own = this.#own.get(key);
    if (own !== undefined && own.revision >= revision) return;
    this.#own.delete(key);
    this.#former.delete(key);
    if (own === undefined) {
      if (session !== undefined) hub.dropCopy(session.scope, session.name);
    } else if (this.#departures.isUnderWay(own.scope, own.name)) void this.#departures.settle(own.scope, own.name);
    // Nothing of it went there: the session ends here, as with a clean start.
    else void this.#departures.discard(own.scope, own.name);
  }

  // ---- calls

  async #ask(
    node: string,
    scope: string,
    name: string,
    ask: NonNullable<SessionRequest['ask']>,
    timeoutMs: number,
  ): Promise<SessionResponse['answer']> {
    const body = SessionRequest.encode({ scope, name, ask }).finish();
    const answer = await this.#options.calls.call(node, callSubject, body, timeoutMs);
    return SessionResponse.decode(answer).answer;
  }

  async #answer(from: string, body: Uint8Array): Promise<Uint8Array> {
    const { scope, name, ask } = SessionRequest.decode(body);
    const answer = this.#options.hub.isServing ? await this.#answerTo(from, scope, name, ask) : busy;
    return SessionResponse.encode({ answer }).finish();
  }

  async #answerTo(
    from: string,
    scope: string,
    name: string,
    ask: SessionRequest['ask'],
  ): Promise<SessionResponse['answer']> {
    switch (ask?.$case) {
      case 'depart':
        return this.#departures.begin(from, scope, name);
      case 'pull':
        return this.#departures.pull(ask.value.departure);
      case 'settle':
        await this.#departures.settle(scope, name);
        return done;
      case 'discard':
        return this.#discard(scope, name);
      case 'locate':
        return this.#locate(scope, name);
      default:
        throw new Error('The call asks for nothing that this node knows');
    }
  }

  /** Only what the record says is another node's. */
  async #discard(scope: string, name: string): Promise<SessionResponse['answer']> {
    const known = await this.#read(scope, name);
    if (known === null || known.record.node === this.#options.node) return { $case: 'none', value: {} };
    this.#own.delete(keyOf(scope, name));
    if (this.#departures.isUnderWay(scope, name)) await this.#departures.settle(scope, name);
    return this.#departures.discard(scope, name);
  }

  async #locate(scope: string, name: string): Promise<SessionResponse['answer']> {
    const { hub } = this.#options;
    if (!hub.has(scope, name)) return { $case: 'none', value: {} };
    if (this.#own.has(keyOf(scope, name))) return done;
    const put = await this.#put({ scope, name, isLasting: true }, null, newEpoch());
    return typeof put === 'number' || put !== null ? done : busy;
  }
}

const done: SessionResponse['answer'] = { $case: 'done', value: {} };
const busy: SessionResponse['answer'] = { $case: 'busy', value: {} };

function keyOf(scope: string, name: string): string {
  return `${scope}/${keyName(name)}`;
}

function keyIn({ scope, name }: OwnerRecord): string {
  return `${scope}/${name}`;
}

/** Of a name that had no record: another one than any that the name had before. */
function newEpoch(): number {
  return Date.now() * 1_024 + Math.floor(Math.random() * 1_024);
}

/** Of errors that pass; others are thrown. */
function reasonOf(error: unknown): string {
  if (error instanceof Error) return error.message;
  throw error;
}
