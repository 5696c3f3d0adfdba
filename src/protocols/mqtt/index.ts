/**
 * MQTT 3.1, 3.1.1 and 5.0 as a protocol of the broker: what every thread may know of it. The rest is `mqtt-worker.ts`, which connection
 * workers load. Any thread.
 */
import type { Protocol } from '../../core/ports/protocol.ts';
import { bridgeMetrics } from './bridge/bridge-metrics.ts';
import { mqttMetrics } from './metrics.ts';
import { type MqttSettings, mqttSettings } from './settings.ts';
import { checkMqttSettings } from './settings-check.ts';

export const mqtt: Protocol = {
  name: 'mqtt',
  defaultPort: 1883,
  // [MQTT-6.0.0-3], [MQTT-6.0.0-4]; the second name is what clients of version 3.1 offer.
  webSocket: { path: '/mqtt', subProtocols: ['mqtt', 'mqttv3.1'] },
  refusesPolitely: true,
  settings: mqttSettings,
  checkSettings: (settings) => checkMqttSettings(settings as MqttSettings),
  metrics: mqttMetrics,
  metricsOf: (settings) => bridgeMetrics((settings as MqttSettings).bridges),
  loadWorker: async () => {
    const { MqttWorker } = await import('./mqtt-worker.ts');
    return (context) => new MqttWorker(context);
  },
};
