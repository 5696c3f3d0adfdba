/**
 * What every connection worker counts, whatever it speaks, and the counters of its connections.
 *
 * Thread: the definitions are used on every thread; a `ConnectionCounters` lives on one connection worker, where the
 * transport calls it for every read and write. Packet counts come from the protocols' own definitions.
 */
import { assert } from '../std/assert.ts';
import { eventLoopMetricDefinitions } from './event-loop-metrics.ts';
import { groupMetricDefinitions } from './group-metrics.ts';
import { limitMetricDefinitions } from './limit-metrics.ts';
import type { MetricDefinition, ThreadMetrics } from './metrics.ts';
import { retainedMetricDefinitions } from './retained-metrics.ts';
import { sessionMetricDefinitions } from './session-metrics.ts';

/** What the metrics need to know of a listener; its name and protocol become label values. */
export interface ListenerLabels {
  readonly name: string;
  readonly protocol: string;
}

/** Label values of `ringmq_connections_closed_total`: the core's `CloseReason`; a unit test keeps the two equal. */
export const closeReasons = [
  'client',
  'protocol-error',
  'keep-alive',
  'handshake-timeout',
  'taken-over',
  'slow-consumer',
  'refused',
  'limit',
  'network-error',
  'administrator',
  'internal-error',
  'shutdown',
] as const;

/** Label values of `ringmq_transport_failures_total`: why a connection did not get to its protocol, or off it again. */
export const transportFailures = [
  'proxy-malformed', // no PROXY header, or a wrong one
  'proxy-timeout', // no whole PROXY header in time
  'tls-failed', // no common version, cipher or application protocol, or no TLS at all
  'tls-timeout', // no end of the TLS hand-shake in time
  'certificate-refused', // the client's certificate is missing, not trusted, expired or revoked
  'upgrade-refused', // a request that does not become a WebSocket
  'upgrade-timeout', // no whole upgrade request in time
  'web-socket-text', // a text message where bytes are spoken
  'web-socket-too-big', // a message beyond the limit
  'web-socket-unread', // more than may wait where reading cannot be stopped
  'accept-limit', // a limit of connections, where only the worker can keep it
  'gone', // the peer went away before its protocol began
] as const;

export type TransportFailure = (typeof transportFailures)[number];

/** Label values of `ringmq_messages_dropped_total`: why an accepted message did not reach a receiver. */
const dropReasons = [
  'output-full', // the connection's output reached its limit and the message may be lost
  'queue-full', // the session's queue reached its limit
  'offline', // the receiver is not connected and the message does not wait for it
  'expired', // its lifetime ended before delivery
  'too-large', // larger than what the receiver accepts
  'not-allowed', // the publisher or the receiver has no permission
  'no-subscriber', // nobody subscribed to it
  'retained-full', // the store of retained messages reached its limit
] as const;

/** Label values of `ringmq_access_denied_total`: the core's `AuditKind`; a unit test keeps the two equal. */
export const auditKinds = ['login-refused', 'publish-denied', 'subscribe-denied', 'subscription-revoked'] as const;
export const auditMetric = 'ringmq_access_denied_total';

/** The definitions of one connection worker. Give the listeners in the order of the configuration. */
export function workerMetricDefinitions(listeners: readonly ListenerLabels[]): MetricDefinition[] {
  return [
    ...listeners.flatMap(listenerDefinitions),
    ...dropDefinitions(),
    ...auditKinds.map((kind) => counter(auditMetric, 'What access control denied, by kind.', { kind })),
    ...limitMetricDefinitions(),
    ...sessionMetricDefinitions(),
    ...groupMetricDefinitions(),
    ...ringDefinitions(),
    ...retainedMetricDefinitions(),
    ...eventLoopMetricDefinitions(),
  ];
}

function listenerDefinitions(listener: ListenerLabels): MetricDefinition[] {
  const labels = labelsOf(listener);
  return [
    counter('ringmq_connections_opened_total', 'Connections that a worker took over.', labels),
    ...closeReasons.map((reason) =>
      counter('ringmq_connections_closed_total', 'Connections that ended, by reason.', { ...labels, reason }),
    ),
    ...transportFailures.map((reason) =>
      counter('ringmq_transport_failures_total', 'Connections that their transport ended, by reason.', {
        ...labels,
        reason,
      }),
    ),
    gauge('ringmq_connections_open', 'Connections that are open now.', labels),
    counter('ringmq_received_bytes_total', 'Bytes read from connections.', labels),
    counter('ringmq_sent_bytes_total', 'Bytes that the kernel took for connections.', labels),
  ];
}

function dropDefinitions(): MetricDefinition[] {
  const help = 'Messages that were not delivered to a receiver, by reason.';
  return dropReasons.map((reason) => counter('ringmq_messages_dropped_total', help, { reason }));
}

function ringDefinitions(): MetricDefinition[] {
  return [
    gauge('ringmq_ring_fill_bytes', 'Bytes of the outgoing ring that the slowest worker has not read.'),
    gauge('ringmq_ring_capacity_bytes', 'Size of the outgoing ring.'),
    counter('ringmq_ring_full_total', 'Times that a full ring stopped the reading of publishers.'),
  ];
}

/** Slots of one listener. `closed` is the slot of the first reason; the others follow in the order of `closeReasons`. */
interface ListenerSlots {
  readonly opened: number;
  readonly closed: number;
  readonly open: number;
  readonly received: number;
  readonly sent: number;
  readonly failures: ReadonlyMap<TransportFailure, number>;
}

/**
 * Counts what the transport reports: one or two array stores per call. `index` is the listener's position in the list
 * that the layout was built from.
 */
export class ConnectionCounters {
  private readonly metrics: ThreadMetrics;
  private readonly listeners: readonly ListenerSlots[];
  private readonly reasons = new Map<string, number>(closeReasons.map((reason, index) => [reason, index]));

  constructor(metrics: ThreadMetrics, listeners: readonly ListenerLabels[]) {
    this.metrics = metrics;
    this.listeners = listeners.map((listener) => resolveSlots(metrics, listener));
  }

  opened(listener: { readonly index: number }): void {
    const slots = this.slotsOf(listener);
    this.metrics.increment(slots.opened);
    this.metrics.increment(slots.open);
  }

  closed(listener: { readonly index: number }, reason: (typeof closeReasons)[number]): void {
    const slots = this.slotsOf(listener);
    const reasonIndex = this.reasons.get(reason);
    assert(reasonIndex !== undefined, `"${reason}" is a reason for closing`);
    this.metrics.increment(slots.closed + reasonIndex);
    this.metrics.add(slots.open, -1);
  }

  failed(listener: { readonly index: number }, failure: TransportFailure): void {
    this.metrics.increment(this.slotsOf(listener).failures.get(failure) as number);
  }

  received(listener: { readonly index: number }, bytes: number): void {
    this.metrics.add(this.slotsOf(listener).received, bytes);
  }

  sent(listener: { readonly index: number }, bytes: number): void {
    this.metrics.add(this.slotsOf(listener).sent, bytes);
  }

  private slotsOf(listener: { readonly index: number }): ListenerSlots {
    // An index outside the list is a broken invariant; reading a slot of `undefined` throws.
    return this.listeners[listener.index];
  }
}

function resolveSlots(metrics: ThreadMetrics, listener: ListenerLabels): ListenerSlots {
  const labels = labelsOf(listener);
  const slots = closeReasons.map((reason) => metrics.slot('ringmq_connections_closed_total', { ...labels, reason }));
  const closed = slots[0] ?? -1;
  assert(
    slots.every((slot, index) => slot === closed + index),
    'the reasons of a listener have consecutive slots',
  );
  return {
    opened: metrics.slot('ringmq_connections_opened_total', labels),
    closed,
    open: metrics.slot('ringmq_connections_open', labels),
    received: metrics.slot('ringmq_received_bytes_total', labels),
    sent: metrics.slot('ringmq_sent_bytes_total', labels),
    failures: new Map(
      transportFailures.map((reason) => [
        reason,
        metrics.slot('ringmq_transport_failures_total', { ...labels, reason }),
      ]),
    ),
  };
}

function labelsOf(listener: ListenerLabels): Record<string, string> {
  return { listener: listener.name, protocol: listener.protocol };
}

function counter(name: string, help: string, labels: Record<string, string> = {}): MetricDefinition {
  return { name, help, kind: 'counter', labels };
}

function gauge(name: string, help: string, labels: Record<string, string> = {}): MetricDefinition {
  return { name, help, kind: 'gauge', labels };
}
