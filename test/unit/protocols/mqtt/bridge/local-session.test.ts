// The session that a bridge has at its own broker: opened, found again, begun anew, lost.
import { expect, it } from 'vitest';
import { LocalSession, localSessionName } from '../../../../../src/protocols/mqtt/bridge/local-session.ts';
import type { OpenAnswers, OpenRequest } from '../../../../../src/protocols/mqtt/durable/open-request.ts';
import type { Session } from '../../../../../src/protocols/mqtt/state/session.ts';

function rig() {
  const asked: { request: OpenRequest; answers: OpenAnswers }[] = [];
  const events: string[] = [];
  const local = new LocalSession({
    clientId: localSessionName('b', 'c'),
    expiryS: 60,
    open: (request, answers) => asked.push({ request, answers }),
    closed: () => events.push('closed'),
    lost: () => events.push('lost'),
  });
  const session = () => ({ online: { isClosed: false, begin: () => events.push('begun') } }) as unknown as Session;
  return { local, asked, events, session };
}

it('open() gives the session that there is, again and again, and with isNew a new one', async () => {
  const { local, asked, events, session } = rig();
  const opening = local.open(false);
  expect(asked[0]?.request).toMatchObject({ clientId: '\0\0bridge b c', clean: false, expiryS: 60 });
  const first = session();
  asked[0]?.answers.opened(first, false);
  expect(await opening).toBe(first.online);
  expect(await local.open(false)).toBe(first.online);
  const again = local.open(true);
  expect([asked.length, asked[1]?.request.clean, events]).toEqual([2, true, ['begun', 'closed']]);
  const second = session();
  asked[1]?.answers.opened(second, false);
  expect(await again).toBe(second.online);
});

it('open() rejects with what is wrong, and when it was closed meanwhile', async () => {
  const { local, asked, events, session } = rig();
  const refused = local.open(false);
  asked[0]?.answers.refused(0x88);
  await expect(refused).rejects.toThrow('the session of the bridge cannot be opened');
  const closed = local.open(false);
  local.close();
  asked[1]?.answers.opened(session(), true);
  await expect(closed).rejects.toThrow('closed meanwhile');
  expect(events).toEqual(['closed']);
});

it('tells that the session was lost, once, and opens it again', async () => {
  const { local, asked, events, session } = rig();
  const opening = local.open(false);
  const link = asked[0]?.request.link;
  asked[0]?.answers.opened(session(), false);
  await opening;
  link?.end(0x8e, 'taken-over');
  link?.end(0x8e, 'taken-over');
  expect(events).toEqual(['begun', 'closed', 'lost']);
  expect(link?.connection.closed).toBe(true);
  void local.open(false);
  expect(asked).toHaveLength(2);
});
