import { describe, expect, it } from 'vitest';
import { limitMetric } from '../../../../../src/observability/limit-metrics.ts';
import { TopicLimits } from '../../../../../src/protocols/mqtt/limits/topic-limits.ts';
import { MqttHost } from '../../../../support/mqtt/mqtt-host.ts';

function exceeded(host: MqttHost, limit: string): number {
  return host.metrics.get(host.metrics.slot(limitMetric, { limit }));
}

describe('TopicLimits', () => {
  it('beyond() counts bytes and levels, and nothing while the limits are those of the core', () => {
    const narrow = new TopicLimits({ topicBytesMax: 6, topicLevelsMax: 3 });
    expect(narrow.beyond('a/b/c')).toBeNull();
    expect(narrow.beyond('a/b/c/')).toBe('topic-levels');
    expect(narrow.beyond('ääää')).toBe('topic-bytes');
    expect(narrow.beyond('äää')).toBeNull();
    const wide = new TopicLimits({ topicBytesMax: 65_535, topicLevelsMax: 128 });
    expect(wide.isNarrow).toBe(false);
    expect(wide.beyond('/'.repeat(1_000))).toBeNull();
  });
});

describe('mqtt.topicBytesMax and mqtt.topicLevelsMax', () => {
  const settings = { topicBytesMax: 10, topicLevelsMax: 2 };

  it('refuse a publication with 0x90 and leave the client connected', () => {
    const host = new MqttHost(settings);
    const watcher = host.connect();
    watcher.subscribe('#');
    const client = host.connect({ level: 5 });
    client.publish('a/b/c', 'x', { qos: 1, messageId: 1 });
    client.publish('12345678901', 'x', { qos: 2, messageId: 2 });
    client.publish('a/b/c', 'x');
    client.publish('1234567890', 'fits', { qos: 1, messageId: 3 });
    expect(client.take()).toMatchObject([
      { cmd: 'puback', messageId: 1, reasonCode: 0x90 },
      { cmd: 'pubrec', messageId: 2, reasonCode: 0x90 },
      { cmd: 'puback', messageId: 3 },
    ]);
    expect(watcher.payloads()).toEqual(['fits']);
    expect(exceeded(host, 'topic-levels')).toBe(2);
    expect(exceeded(host, 'topic-bytes')).toBe(1);
    expect(host.dropped('not-allowed')).toBe(3);
  });

  it('acknowledge and drop the publication of a client of 3.1.1, which could not be told', () => {
    const host = new MqttHost(settings);
    const watcher = host.connect();
    watcher.subscribe('#');
    const client = host.connect();
    client.publish('a/b/c', 'x', { qos: 1, messageId: 1 });
    expect(client.take()).toMatchObject([{ cmd: 'puback', messageId: 1 }]);
    expect(watcher.payloads()).toEqual([]);
  });

  it('refuse a filter with 0x8F, or 0x80 before MQTT 5', () => {
    const host = new MqttHost(settings);
    expect(host.connect({ level: 5 }).subscribe('a/+/c')).toMatchObject({ granted: [0x8f] });
    expect(host.connect().subscribe('$share/group/a/b/c')).toMatchObject({ granted: [0x80] });
    expect(host.connect().subscribe('a/#')).toMatchObject({ granted: [0] });
    expect(exceeded(host, 'topic-levels')).toBe(2);
  });

  it('refuse a client whose will has such a topic', () => {
    const host = new MqttHost(settings);
    const will = { topic: 'a/b/c', payload: 'x', qos: 0, retain: false };
    expect(host.tryConnect({ level: 5, will }).connack).toMatchObject({ reasonCode: 0x90 });
  });
});
