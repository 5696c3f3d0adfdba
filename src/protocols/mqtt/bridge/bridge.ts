/**
 * One bridge, assembled: connection, what comes, what goes. Thread: the one worker of the node that has it; a worker that dies takes it
 * along, and its successor goes on from what is stored here and from the session at the remote broker.
 */
import type { Router } from '../../../core/broker/router.ts';
import type { Cursors } from '../../../core/ports/cursors.ts';
import type { StreamPartition } from '../../../core/ports/stream-store.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { hashString } from '../../../std/hash.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import type { OpenAnswers, OpenRequest } from '../durable/open-request.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import type { Link, Session } from '../state/session.ts';
import { knownPath } from '../state/subscription-path.ts';
import { echoOf } from './bridge-check.ts';
import type { BridgeCounters } from './bridge-metrics.ts';
import { exactWindowMax, releases } from './exact-ids.ts';
import { Forwarder } from './forwarder.ts';
import { Incoming } from './incoming.ts';
import { IncomingReceipts } from './incoming-receipts.ts';
import { LiveOutlet } from './live-outlet.ts';
import { LocalSession, localSessionName } from './local-session.ts';
import { type PublishOptions, Remote, type RemoteLimits, type RemoteState } from './remote.ts';
import type { BridgeRule, BridgeSettings } from './settings.ts';
import { StoredReader } from './stored-reader.ts';

export interface BridgeOptions {
  readonly settings: BridgeSettings;
  readonly clientId: string;
  readonly router: Router;
  readonly cursors: Cursors;
  /** Null: nothing is stored. */
  readonly openStream: (() => Promise<StreamPartition>) | null;
  readonly ownPublisher: OwnPublisher;
  readonly sessions: BridgeSessions;
  /** Largest PUBLISH that can be published here, bytes. */
  readonly packetBytesMax: number;
  readonly counters: BridgeCounters;
  readonly log: Logger;
}

/** The sessions of this worker, where the bridge has one too. */
export interface BridgeSessions {
  open(request: OpenRequest, answers: OpenAnswers): void;
  closed(session: Session, link: Link): void;
}

/** For administrators. Plain data. */
export interface BridgeStatus {
  readonly name: string;
  readonly state: RemoteState;
  /** Unix time of the last change of the state, ms. */
  readonly sinceMs: number;
  readonly server: string;
  readonly clientId: string;
  /** Why it is not connected, or what is wrong with it though it is; '' for nothing. */
  readonly problem: string;
  /** Messages stored for the remote broker, those under way included; null: not known yet, or nothing is stored. */
  readonly waiting: number | null;
  readonly inFlight: number;
  /** Since the node began. */
  readonly sent: number;
  readonly received: number;
}

/** Bytes for the socket beyond which QoS 0 messages are dropped. */
const liveBytesMax = 1_048_576;
const openRetryMs = 1_000;
const refreshMs = 1_000;
const strangeMsMax = 10_000;
/** Reasons that get a line of their own while the bridge is not connected. */
const loggedReasonsMax = 16;
/** At most one line in so long about messages that are refused. */
const refusedLogMs = 10_000;
const longestPacket = 268_435_455;

function levelOf(version: BridgeSettings['version']): 3 | 4 | 5 {
  return version === '5' ? 5 : version === '3.1' ? 3 : 4;
}

/** Of a server; never 0. */
function hashOf(server: string): number {
  return (hashString(server) | 1) >>> 0;
}

export class Bridge {
  readonly #options: BridgeOptions;
  readonly #isVersion5: boolean;
  readonly #remote: Remote;
  readonly #incoming: Incoming;
  readonly #receipts: IncomingReceipts;
  readonly #live: LiveOutlet | null;
  readonly #forwarder: Forwarder | null;
  #reader: StoredReader | null = null;
  #limits: RemoteLimits | null = null;
  /** All filters were subscribed to in the session that the remote broker has. */
  #isSubscribed = false;
  /** By filter. */
  readonly #refusedFilters = new Map<string, string>();
  #storeProblem: string | null = null;
  #sinceMs = Date.now();
  /** Since the last connection. */
  readonly #loggedReasons = new Set<string>();
  #refusedCount = 0;
  #refusedLoggedMs = Number.NEGATIVE_INFINITY;
  /** Type and packet identifier in turn. */
  #acknowledgements: number[] = [];
  /** The reader knows of the connection. */
  #isPrepared = false;
  /** The last one of those that are being released; 0: none. */
  #lastStrangeId = 0;
  #strangeTimer: NodeJS.Timeout | null = null;
  #openTimer: NodeJS.Timeout | null = null;
  #refreshTimer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: BridgeOptions) {
    this.#options = options;
    const { settings, clientId, packetBytesMax, counters, log } = options;
    this.#isVersion5 = settings.version === '5';
    this.#remote = new Remote({
      ...{ settings, clientId, packetBytesMax, log },
      bridgeBitReason: echoOf(settings),
      events: {
        connected: (limits) => this.#connected(limits),
        disconnected: (reason) => this.#disconnected(reason),
        answered: (packetId, isLast, reasonCode) => this.#answered(packetId, isLast, reasonCode),
        begun: (isResumed) => this.#incoming.begun(isResumed),
        released: (packetId) => this.#incoming.released(packetId),
        message: (packet, next) => this.#incoming.take(packet, next),
      },
    });
    this.#receipts = new IncomingReceipts(this.#createLocalSession());
    this.#incoming = new Incoming({
      ...{ clientId, packetBytesMax, counters },
      rules: settings.in,
      hopsMax: settings.hopsMax,
      pendingMax: settings.receiveMaximum,
      publish: (message, done) => options.ownPublisher.publish(message, done),
      receipts: this.#receipts,
      tellsSession: settings.version !== '3.1',
      acknowledge: (type, packetId) => this.#acknowledge(type, packetId),
      failed: (reason) => this.#remote.restart(reason),
    });
    this.#live = this.#createLive();
    this.#forwarder = options.openStream === null ? null : this.#createForwarder();
  }

  get status(): BridgeStatus {
    const { settings, clientId, counters } = this.#options;
    const problems = [this.#remote.problem, this.#storeProblem ?? '', ...this.#refusedFilters.values()];
    return {
      name: settings.name,
      state: this.#remote.state,
      sinceMs: this.#sinceMs,
      server: this.#remote.server,
      clientId,
      problem: problems.filter((each) => each !== '').join('; '),
      waiting: this.#reader?.waiting ?? null,
      inFlight: this.#forwarder?.inFlight ?? 0,
      sent: counters.passedCount('out'),
      received: counters.passedCount('in'),
    };
  }

  start(): void {
    this.#live?.start();
    if (this.#forwarder !== null) void this.#openReader();
    this.#remote.start();
  }

  /** What is under way is not waited for: it is sent again by the next life. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#openTimer !== null) clearTimeout(this.#openTimer);
    if (this.#refreshTimer !== null) clearInterval(this.#refreshTimer);
    if (this.#strangeTimer !== null) clearTimeout(this.#strangeTimer);
    this.#live?.stop();
    this.#forwarder?.stop();
    this.#receipts.close();
    this.#options.counters.connected(false);
    await Promise.all([this.#remote.stop(), this.#reader?.stop()]);
  }

  #createLive(): LiveOutlet | null {
    const { settings, clientId, router, counters } = this.#options;
    if (settings.out.length === 0 || settings.store.qos0) return null;
    return new LiveOutlet({
      ...{ clientId, router, counters },
      isVersion5: this.#isVersion5,
      rules: settings.out,
      hopsMax: settings.hopsMax,
      isOpen: () => (this.#remote.client?.stream.writableLength ?? liveBytesMax) < liveBytesMax,
      packetBytesMax: () => this.#limits?.packetBytesMax ?? longestPacket,
      publish: (topic, payload, options) => this.#publish(topic, payload, options, () => undefined),
    });
  }

  /** Null: nothing that could be remembered over the end of the process. */
  #createLocalSession(): LocalSession | null {
    const { settings, clientId, sessions } = this.#options;
    const isKept = !settings.cleanStart && settings.sessionExpiryS > 0;
    if (!isKept || !settings.in.some(({ qos }) => qos === 2)) return null;
    return new LocalSession({
      clientId: localSessionName(settings.name, clientId),
      expiryS: settings.sessionExpiryS,
      open: (request, answers) => sessions.open(request, answers),
      closed: (session, link) => sessions.closed(session, link),
      lost: () => {
        if (!this.#isStopped) this.#remote.restart('the session of the bridge at its own broker has ended');
      },
    });
  }

  #createForwarder(): Forwarder {
    const { settings, clientId, counters } = this.#options;
    return new Forwarder({
      ...{ clientId, counters },
      level: levelOf(settings.version),
      hopsMax: settings.hopsMax,
      inflightMax: settings.inflightMax,
      exact: {
        begin: (inUse) => this.#beginSending(inUse),
        write: (bytes) => this.#remote.write(bytes),
        received: (offset, stored) => this.#reader?.received(offset, stored),
        wasReceived: (offset) => this.#reader?.wasReceived(offset) === true,
        isDoubtful: (offset) => this.#reader?.isDoubtful(offset) === true,
      },
      take: () => this.#reader?.take(),
      confirm: (offset) => {
        this.#reader?.confirm(offset);
        counters.waiting(this.#reader?.waiting ?? 0);
      },
      publish: (topic, payload, options, sent) => this.#publish(topic, payload, options, sent),
      refused: (topic, reason) => this.#noteRefused(topic, reason),
      now: Date.now,
      random: Math.random,
    });
  }

  /** What the remote broker may know of QoS 2 messages that are not there any more is released before anything is sent. */
  #beginSending(inUse: ReadonlySet<number>): boolean {
    const reader = this.#reader;
    const limits = this.#limits;
    if (reader === null || limits === null) return false;
    const isExact = limits.maximumQos === 2 && this.#options.settings.out.some(({ qos }) => qos === 2);
    if (!isExact) return true;
    const server = hashOf(this.#remote.server);
    if (!this.#isPrepared) {
      this.#isPrepared = true;
      const ids = reader.prepare(server, limits.isSessionPresent, inUse);
      this.#lastStrangeId = ids.at(-1) ?? 0;
      if (ids.length > 0) this.#releaseStrange(ids);
    }
    return reader.isReadyFor(server);
  }

  #releaseStrange(ids: readonly number[]): void {
    this.#remote.write(releases(ids));
    const limits = this.#limits;
    // The remote broker has to answer [MQTT-4.3.3-11]; one that does not must not hold everything up.
    this.#strangeTimer = setTimeout(() => {
      if (limits === this.#limits) this.#strangeReleased();
    }, strangeMsMax);
  }

  #strangeReleased(): void {
    if (this.#lastStrangeId === 0) return;
    this.#lastStrangeId = 0;
    if (this.#strangeTimer !== null) clearTimeout(this.#strangeTimer);
    this.#reader?.released();
  }

  #answered(packetId: number, isLast: boolean, reasonCode: number): void {
    this.#forwarder?.answered(packetId, isLast, reasonCode);
    if (isLast && packetId === this.#lastStrangeId) this.#strangeReleased();
  }

  #publish(topic: string, payload: Buffer, options: PublishOptions, sent: (error?: Error) => void): void {
    const { client } = this.#remote;
    if (client === null) queueMicrotask(() => sent(new Error('the remote broker is not there')));
    else client.publish(topic, payload, options, sent);
  }

  async #openReader(): Promise<void> {
    const { settings, cursors, counters, log, openStream } = this.#options;
    this.#openTimer = null;
    try {
      const reader = await StoredReader.open({
        bridge: settings.name,
        cursors,
        window: Math.min(settings.inflightMax, exactWindowMax),
        open: openStream as () => Promise<StreamPartition>,
        arrived: () => {
          counters.waiting(this.#reader?.waiting ?? 0);
          this.#forwarder?.send();
        },
        lost: (count) => {
          counters.dropped('out', 'overflow', count);
          log.warn('Stored messages were let go of before the remote broker took them', { count });
        },
        troubled: (problem) => this.#noteStore(problem),
      });
      if (this.#isStopped) return void reader.stop();
      this.#reader = reader;
    } catch (thrown) {
      if (this.#isStopped) return;
      this.#noteStore(`cannot open what is stored: ${toError(thrown).message}`);
      this.#openTimer = setTimeout(() => void this.#openReader(), openRetryMs);
      return;
    }
    this.#noteStore(null);
    this.#refreshTimer = setInterval(() => this.#refresh(), refreshMs);
    this.#forwarder?.send();
  }

  #refresh(): void {
    const reader = this.#reader;
    if (reader === null) return;
    reader.refresh().then(
      () => this.#options.counters.waiting(reader.waiting),
      (error: Error) => this.#noteStore(`cannot see what is stored: ${error.message}`),
    );
  }

  #noteStore(problem: string | null): void {
    if (problem !== null && problem !== this.#storeProblem) {
      this.#options.log.warn('The bridge has trouble with its storage', { reason: problem });
    }
    this.#storeProblem = problem;
  }

  #noteRefused(topic: string, reason: string): void {
    this.#refusedCount += 1;
    const nowMs = performance.now();
    if (nowMs - this.#refusedLoggedMs < refusedLogMs) return;
    this.#refusedLoggedMs = nowMs;
    this.#options.log.warn('The remote broker refuses messages', { topic, reason, count: this.#refusedCount });
    this.#refusedCount = 0;
  }

  // ---- the connection

  #connected(limits: RemoteLimits): void {
    const { counters, log } = this.#options;
    this.#limits = limits;
    this.#isPrepared = false;
    this.#sinceMs = Date.now();
    this.#loggedReasons.clear();
    counters.connected(true);
    log.info('Bridge connected', { server: this.#remote.server, sessionPresent: limits.isSessionPresent });
    this.#subscribeAll(limits);
    this.#forwarder?.connected(limits);
  }

  #disconnected(reason: string): void {
    const { counters, log } = this.#options;
    if (this.#limits !== null) this.#sinceMs = Date.now();
    this.#limits = null;
    this.#acknowledgements = [];
    counters.connected(false);
    counters.failed();
    this.#incoming.disconnected();
    this.#forwarder?.disconnected();
    // Once for each reason: a remote broker can be away for days.
    const reasons = this.#loggedReasons;
    const isKnown = reasons.has(reason) || reasons.size >= loggedReasonsMax;
    if (isKnown) log.debug('Bridge is not connected', { reason });
    else log.warn('Bridge is not connected', { reason, server: this.#remote.server });
    if (!isKnown) reasons.add(reason);
  }

  /** At the first connection of this life, since the filters may be others than before, and whenever there is no session. */
  #subscribeAll({ isSessionPresent }: RemoteLimits): void {
    const { settings } = this.#options;
    // MQTT 3.1 does not say whether there is one.
    if (this.#isSubscribed && isSessionPresent && settings.version !== '3.1') return;
    this.#isSubscribed = true;
    for (const rule of settings.in) this.#subscribe(rule);
  }

  #subscribe({ filter, qos }: BridgeRule): void {
    const { log } = this.#options;
    // "No local" on a shared subscription is a protocol error [MQTT-3.8.3-4].
    const noLocal = knownPath(filter).kind !== 'shared';
    const options = { qos: qos as 0 | 1 | 2, ...(this.#isVersion5 ? { nl: noLocal, rap: true, rh: 1 } : {}) };
    this.#remote.client?.subscribe(filter, options, (error, granted) => {
      if (error === null || error === undefined) {
        this.#refusedFilters.delete(filter);
        const [first] = granted ?? [];
        if (first !== undefined && first.qos < qos)
          log.warn('The remote broker grants less', { filter, qos: first.qos });
        return;
      }
      // Its connection has ended: it is asked again over the next one.
      this.#isSubscribed = false;
      if (this.#remote.client === null) return;
      this.#refusedFilters.set(filter, `the remote broker refuses the filter "${filter}": ${error.message}`);
      log.error('The remote broker refuses a filter', { filter, reason: error.message });
    });
  }

  /** Those of one turn leave together. */
  #acknowledge(type: number, packetId: number): void {
    this.#acknowledgements.push(type, packetId);
    if (this.#acknowledgements.length === 2) queueMicrotask(() => this.#sendAcknowledgements());
  }

  #sendAcknowledgements(): void {
    const sent = this.#acknowledgements;
    if (sent.length === 0) return;
    this.#acknowledgements = [];
    const bytes = Buffer.allocUnsafe(sent.length * 2);
    let at = 0;
    // Without a reason code it is "success", in all versions.
    for (let index = 0; index + 1 < sent.length; index += 2)
      at = writeAcknowledgement(bytes, at, sent[index], sent[index + 1], 0, 4);
    this.#remote.write(bytes);
  }
}
