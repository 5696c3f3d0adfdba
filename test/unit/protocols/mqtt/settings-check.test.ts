/** What the schema of the section cannot say, as a user of the configuration meets it. */
import { describe, expect, it } from 'vitest';
import { loadConfiguration } from '../../../../src/config/load.ts';
import { mqtt } from '../../../../src/protocols/mqtt/index.ts';

async function problemOf(settings: object): Promise<string> {
  const sources = { environment: {}, flags: [], parts: [mqtt], settings: { mqtt: settings } };
  return loadConfiguration(sources).then(
    () => '',
    (error: Error) => error.message,
  );
}

describe('checkMqttSettings()', () => {
  it('takes what is right', async () => {
    const topicRewrite = [{ source: 'a/#', pattern: '^a/(.*)$', target: `$1/\${clientid}` }];
    const autoSubscribe = [{ filter: `$share/g/\${clientid}/+` }, { filter: `$queue/\${host}/\${username}`, qos: 2 }];
    const tenants = { choice: true, open: ['acme', 'a/b + #'] };
    expect(await problemOf({ topicRewrite, autoSubscribe, tenants })).toBe('');
  });

  it.each([
    [{ topicRewrite: [{ source: 'a', pattern: '(', target: 'b' }] }, 'Cannot use the rule for "a": "(" without ")"'],
    [{ topicRewrite: [{ source: 'a', pattern: 'a', target: '$2' }] }, 'the pattern has no group $2'],
    [
      { autoSubscribe: [{ filter: `\${tenant}/x` }] },
      `\${tenant} is not known; there are \${clientid}, \${username}, \${host}`,
    ],
    [{ autoSubscribe: [{ filter: 'a/#/b' }] }, 'Cannot use "a/#/b" for "mqtt.autoSubscribe.0.filter"'],
    [{ autoSubscribe: [{ filter: '$share//a' }] }, 'the name of the group is not valid'],
    [{ autoSubscribe: [{ filter: 'a', qos: 3 }] }, 'mqtt.autoSubscribe.0.qos'],
    [{ sharedStrategy: 'fair' }, 'mqtt.sharedStrategy'],
    [{ tenants: { open: ['a\0b'] } }, 'Cannot use "a\\u0000b" for "mqtt.tenants.open.0": it contains U+0000'],
    [
      { autoSubscribe: [{ filter: 'a', tenants: ['\ud800'] }] },
      '"mqtt.autoSubscribe.0.tenants.0": it is not well-formed',
    ],
    [
      { topicRewrite: [{ source: 'a', pattern: 'a', target: 'b', tenants: ['ok', '\0'] }] },
      '"mqtt.topicRewrite.0.tenants.1": it contains U+0000',
    ],
    [{ tenants: { open: [''] } }, 'mqtt.tenants.open.0'],
  ])('refuses %j and says why', async (settings, reason) => {
    expect(await problemOf(settings)).toContain(reason);
  });
});
