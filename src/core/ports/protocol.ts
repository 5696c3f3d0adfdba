/**
 * The port of a protocol: what one folder of `src/protocols` gives to the rest of the broker.
 *
 * A protocol is added with one folder and one line in `src/protocols/registry.ts`; listeners, transfer of sockets to
 * workers, limits, metrics and supervision come with it.
 */
import type { TObject } from 'typebox';
import type { Logger } from '../../observability/log.ts';
import type { MetricDefinition, ThreadMetrics } from '../../observability/metrics.ts';
import type { TimingWheel } from '../../std/timing-wheel.ts';
import type { Router } from '../broker/router.ts';
import type { AccessControl } from './access.ts';
import type { Connection, ConnectionHandler } from './connection.ts';
import type { ControlPlane } from './control-plane.ts';
import type { ClientLimits } from './limits.ts';
import type { NodeView } from './node.ts';
import type { BrokerServices } from './services.ts';
import type { SessionDirectory } from './session-directory.ts';
import type { SessionSlots } from './session-slots.ts';
import type { PacedStore } from './stream-store.ts';

export interface Protocol {
  /** Lower-case name: key of its configuration section, its listeners and its metric label. */
  readonly name: string;
  /** TCP port registered for it, used when a listener gives none. */
  readonly defaultPort: number;
  /** How it is spoken over WebSockets; absent: it is not. */
  readonly webSocket?: ProtocolWebSocket;
  /** Whether it can tell a client that the node is full; without it such connections are reset. */
  readonly refusesPolitely?: boolean;
  /** Schema of the section `<name>:` of the configuration file, with defaults and descriptions. */
  readonly settings: TObject;
  /**
   * What the schema cannot say, on the main thread at start: the problems of a section that fits the schema, each with
   * the path of the setting below the section and a whole sentence. Absent: none.
   */
  checkSettings?(settings: unknown): readonly SettingProblem[];
  /** Counters and gauges of its own; each worker has one block of them. */
  readonly metrics: readonly MetricDefinition[];
  /** More of them, for what the settings name; their labels come from there. Called on each thread, with the same settings. */
  metricsOf?(settings: unknown): readonly MetricDefinition[];
  /**
   * Loads what connection workers need of it, which is most of a protocol and what no other thread loads. Called once per worker thread,
   * before it knows its settings.
   */
  loadWorker(): Promise<CreateProtocolWorker>;
}

/** Called once per worker thread before its first connection. */
export type CreateProtocolWorker = (context: ProtocolContext) => ProtocolWorker;

export interface ProtocolWebSocket {
  /** Path of the upgrade request, unless the listener has another one. */
  readonly path: string;
  /** Sub-protocols in order of preference; a client must offer one of them. */
  readonly subProtocols: readonly string[];
}

export interface SettingProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** What a protocol may use on its thread. */
export interface ProtocolContext {
  readonly workerIndex: number;
  /** The validated section of the configuration; its type is `Static<typeof settings>` of the protocol. */
  readonly settings: unknown;
  readonly router: Router;
  readonly directory: SessionDirectory;
  readonly control: ControlPlane;
  /** Streams that are kept. */
  readonly storage: PacedStore;
  /** Queues, cursors, delayed messages, transactions. */
  readonly services: BrokerServices;
  /** Sessions that outlive the broker; null when the settings want none. */
  readonly sessions: SessionSlots | null;
  readonly access: AccessControl;
  /** What clients may use; asked when one wants in. */
  readonly limits: ClientLimits;
  /** The node as a whole. */
  readonly node: NodeView;
  readonly metrics: ThreadMetrics;
  /** Coarse timers of this thread: keep-alive, session expiry, delayed wills. */
  readonly timers: TimingWheel;
  readonly log: Logger;
  /** Time limit between accept and the end of the protocol's handshake, ms. */
  readonly handshakeTimeoutMs: number;
  /** Bytes of output that one connection may have queued; beyond it the protocol drops or keeps, by its rules. */
  readonly connectionOutputBytesMax: number;
}

/** A protocol on one worker thread. */
export interface ProtocolWorker {
  /** A connection arrived; the handler answers for it until its `onClose`. */
  accept(connection: Connection): ConnectionHandler;
  /** Says goodbye to every connection in the protocol's own words and closes them; called once, at shutdown. */
  drain(): void;
}
