/** A session that another user comes back to: what was under way to the former one. */
import { describe, expect, it } from 'vitest';
import { ruleOf } from '../../../../support/access.ts';
import { MqttHost } from '../../../../support/mqtt/mqtt-host.ts';

const session = { clientId: 'c', clean: false } as const;

/** Two messages were sent to ann and not acknowledged, of which bob may read one; her subscriptions are gone. */
function leftByAnn(): MqttHost {
  const host = new MqttHost();
  host.access.setRules([ruleOf({ permission: 'deny', users: ['bob'], topics: ['a/#'] })]);
  const ann = host.connect({ ...session, username: 'ann' });
  for (const filter of ['a/#', 'b/#']) ann.subscribe(filter, { qos: 1 });
  const publisher = host.connect({ clientId: 'p' });
  publisher.publish('a/x', 'of ann', { qos: 1, messageId: 1 });
  publisher.publish('b/x', 'of everybody', { qos: 1, messageId: 2 });
  ann.send({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['a/#'] });
  ann.connection.cut();
  host.settle();
  return host;
}

function sentTo(host: MqttHost, username: string): string[] {
  const client = host.connect({ ...session, username });
  const packets = (host.leftovers.get(client) ?? []).filter(({ cmd }) => cmd === 'publish');
  return packets.map(({ payload }) => String(payload));
}

describe('messages under way to a session', () => {
  it('are sent again to the user whose session it is', () => {
    expect(sentTo(leftByAnn(), 'ann')).toEqual(['of ann', 'of everybody']);
  });

  it('are sent to another user only where that user may read them', () => {
    expect(sentTo(leftByAnn(), 'bob')).toEqual(['of everybody']);
  });
});
