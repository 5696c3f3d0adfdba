/**
 * One bridge, assembled: connection, what comes, what goes. Thread: the one worker of the node that has it; a worker that dies takes it
 * along, and its successor goes on from what is stored here and from the session at the remote broker.
 */
import type { Router } from '../../../core/broker/router.ts';
import type { Cursors } from '../../../core/ports/cursors.ts';
import type { StreamPartition } from '../../../core/ports/stream-store.ts';
import type { Logger } from '../../../observability/log.ts';
import { toError } from '../../../std/errors.ts';
import { writeAcknowledgement } from '../codec/acknowledgements.ts';
import { PacketType } from '../codec/frame.ts';
import type { OwnPublisher } from '../handlers/own-publisher.ts';
import { knownPath } from '../state/subscription-path.ts';
import { echoOf } from './bridge-check.ts';
import type { BridgeCounters } from './bridge-metrics.ts';
import { Forwarder } from './forwarder.ts';
import { Incoming } from './incoming.ts';
import { LiveOutlet } from './live-outlet.ts';
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
  /** Largest PUBLISH that can be published here, bytes. */
  readonly packetBytesMax: number;
  readonly counters: BridgeCounters;
  readonly log: Logger;
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
/** Reasons that get a line of their own while the bridge is not connected. */
const loggedReasonsMax = 16;
/** At most one line in so long about messages that are refused. */
const refusedLogMs = 10_000;
const longestPacket = 268_435_455;

export class Bridge {
  readonly #options: BridgeOptions;
  readonly #isVersion5: boolean;
  readonly #remote: Remote;
  readonly #incoming: Incoming;
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
  #acknowledgements: number[] = [];
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
        message: (packet, next) => this.#incoming.take(packet, next),
      },
    });
    this.#incoming = new Incoming({
      ...{ clientId, packetBytesMax, counters },
      rules: settings.in,
      hopsMax: settings.hopsMax,
      pendingMax: settings.receiveMaximum,
      publish: (message, done) => options.ownPublisher.publish(message, done),
      acknowledge: (packetId) => this.#acknowledge(packetId),
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
    this.#live?.stop();
    this.#forwarder?.stop();
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

  #createForwarder(): Forwarder {
    const { settings, clientId, counters } = this.#options;
    return new Forwarder({
      ...{ clientId, counters },
      isVersion5: this.#isVersion5,
      hopsMax: settings.hopsMax,
      inflightMax: settings.inflightMax,
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

  /** PUBACK; those of one turn leave together. */
  #acknowledge(packetId: number): void {
    this.#acknowledgements.push(packetId);
    if (this.#acknowledgements.length === 1) queueMicrotask(() => this.#sendAcknowledgements());
  }

  #sendAcknowledgements(): void {
    const ids = this.#acknowledgements;
    const { client } = this.#remote;
    if (ids.length === 0 || client === null) return;
    this.#acknowledgements = [];
    const bytes = Buffer.allocUnsafe(ids.length * 4);
    let at = 0;
    // Without a reason code it is "success", in all versions.
    for (const id of ids) at = writeAcknowledgement(bytes, at, PacketType.PUBACK, id, 0, 4);
    client.stream.write(bytes);
  }
}
