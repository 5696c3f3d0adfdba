/** What a connection worker has of MQTT: everything that its clients share, assembled. Thread: one `MqttWorker` per connection worker. */

import { ExclusiveClaims } from '../../core/broker/exclusive-claims.ts';
import type { Router } from '../../core/broker/router.ts';
import type { Connection, ConnectionHandler } from '../../core/ports/connection.ts';
import type { ProtocolContext, ProtocolWorker } from '../../core/ports/protocol.ts';
import { TOPIC_BYTES_MAX } from '../../core/routing/topic.ts';
import type { Logger } from '../../observability/log.ts';
import type { BridgeSessions } from './bridge/bridge.ts';
import { BridgeDoor } from './bridge/bridge-door.ts';
import { ReasonCode } from './codec/reason-code.ts';
import { Delivery } from './delivery/delivery.ts';
import { runKeys } from './delivery/run-keys.ts';
import { splitRun } from './delivery/run-of-frame.ts';
import { Client } from './handlers/client.ts';
import type { ClientHost } from './handlers/client-state.ts';
import { OwnPublisher } from './handlers/own-publisher.ts';
import { Publishing } from './handlers/publishing.ts';
import { SessionRegistry } from './handlers/session-registry.ts';
import { TenantRules } from './handlers/tenant-rules.ts';
import { TopicLimits } from './limits/topic-limits.ts';
import { MqttMetrics } from './metrics.ts';
import { preload } from './packets/mqtt-packet.ts';
import { answerRetainedQuestions } from './retained/retained-questions.ts';
import type { MqttSettings } from './settings.ts';
import { createStreamFeatures } from './streams/stream-features.ts';
import { SystemTopics } from './system/system-topics.ts';

/** What a packet costs in a ring beside its bytes and its topic, at the most. */
const recordOverheadBytes = 256;

export class MqttWorker implements ProtocolWorker {
  private readonly host: ClientHost;
  private readonly publishing = new Publishing();
  private readonly bridges: BridgeDoor;

  constructor(context: ProtocolContext) {
    const { router, directory, access, timers, log, handshakeTimeoutMs } = context;
    const settings = fitToRing(context.settings as MqttSettings, router, log);
    const metrics = new MqttMetrics(context.metrics);
    const { queuedMessagesMax, queuedBytesMax } = settings;
    const delivery = new Delivery(metrics, {
      outputBytesMax: context.connectionOutputBytesMax,
      queuedMessagesMax,
      queuedBytesMax,
    });
    const exclusive = new ExclusiveClaims(context.workerIndex, context.control, directory);
    const ownPublisher = new OwnPublisher(router, context.sessions);
    this.bridges = createBridges(context, settings, ownPublisher, {
      // They are asked when everything here is made.
      open: (request, answers) => registry.open(request, answers),
      closed: (session, link) => registry.closed(session, link, false),
    });
    const registry: SessionRegistry = new SessionRegistry({
      router,
      directory,
      timers,
      delivery,
      metrics,
      settings,
      exclusive,
      access,
      ownPublisher,
      slots: context.sessions,
      log,
    });
    const { limits } = context;
    const topicLimits = new TopicLimits(settings);
    const keys = runKeys(settings.sharedKeyProperty);
    const system = new SystemTopics({
      ...{ workerIndex: context.workerIndex, router, node: context.node, metrics: context.metrics },
      ...{ timers, publisher: ownPublisher, settings },
      updateCounts: () => registry.updateCounts(),
    });
    delivery.slow = system.slow;
    answerRetainedQuestions(context.workerIndex, router, context.node);
    const streamFeatures = createStreamFeatures(context, {
      settings,
      ownPublisher,
      delivery,
      taps: this.bridges.taps,
    });
    system.delayedCount = () => streamFeatures.delayed?.waitingCount ?? 0;
    preload();
    registry.onExpired = (name) => system.events.sessionExpired(name);
    router.groups.registerSplitter(4, splitRun, keys);
    router.groups.registerSplitter(5, splitRun, keys);
    const tenants = new TenantRules(settings);
    const state = { settings, tenants, log, handshakeTimeoutMs, isDraining: false, limits, topicLimits };
    this.host = {
      slots: context.sessions,
      router,
      registry,
      delivery,
      access,
      ownPublisher,
      metrics,
      timers,
      system,
      ...streamFeatures,
      ...state,
    };
  }

  accept(connection: Connection): ConnectionHandler {
    return new Client(this.host, connection, this.publishing);
  }

  /** MQTT 5 clients are told that the server shuts down (3.14.2.1). */
  drain(): void {
    this.host.isDraining = true;
    // What is due from here on waits for the next start.
    this.host.delayed?.close();
    this.host.bindings?.close();
    void this.bridges.stop();
    this.host.registry.isDraining = true;
    this.host.registry.forEachLink((link) => link.end(ReasonCode.SERVER_SHUTTING_DOWN, 'shutdown'));
  }
}

/**
 * Packets are as large as the settings say, and no larger than what the ring takes: their frame, the topic that stands
 * for an alias, and the topic once more in a record of the ring.
 */
function fitToRing(settings: MqttSettings, router: Router, log: Logger): MqttSettings {
  const ringBytes = router.runBytesMax(0) - recordOverheadBytes;
  const longestBytes = Math.max(ringBytes - 2 * TOPIC_BYTES_MAX, Math.floor(ringBytes / 3));
  const packetBytesMax = Math.min(settings.packetBytesMax, longestBytes);
  if (packetBytesMax < settings.packetBytesMax)
    log.warn('The ring is too small for the largest packet', { packetBytesMax });
  return { ...settings, packetBytesMax, connectBytesMax: Math.min(settings.connectBytesMax, longestBytes) };
}

function createBridges(
  context: ProtocolContext,
  settings: MqttSettings,
  ownPublisher: OwnPublisher,
  sessions: BridgeSessions,
): BridgeDoor {
  const { workerIndex, router, storage: store, services, metrics, log, node } = context;
  const { bridges, packetBytesMax } = settings;
  const options = {
    bridges,
    workerIndex,
    router,
    store,
    services,
    ownPublisher,
    sessions,
    packetBytesMax,
    metrics,
    log,
  };
  const door = new BridgeDoor(options);
  node.onQuestion('bridges', () => door.status());
  return door;
}
