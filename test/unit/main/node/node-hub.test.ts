/** What workers are told of the node, and how all of them are asked. */
import { describe, expect, it } from 'vitest';
import { NodeHub } from '../../../../src/main/node/node-hub.ts';
import type { MainToWorker } from '../../../../src/workers/messages.ts';

function fixture(live: number[]) {
  const sent: (readonly [worker: number, message: MainToWorker])[] = [];
  const workers = {
    liveWorkers: () => live,
    post: (worker: number, message: MainToWorker) => sent.push([worker, message]),
  };
  return { hub: new NodeHub(workers, 50), sent, live };
}

function idOf(message: MainToWorker): number {
  if (message.type !== 'question') throw new Error(`not a question: ${message.type}`);
  return message.id;
}

describe('NodeHub', () => {
  it('setFacts() tells all workers what changed, and nothing when nothing did', () => {
    const { hub, sent } = fixture([0, 1]);
    hub.setFacts({ name: 'n1', nodes: ['n1'] });
    hub.setFacts({ nodes: ['n1'] });
    const facts = { name: 'n1', nodes: ['n1'], ports: [] };
    expect(sent).toEqual([0, 1].map((worker) => [worker, { type: 'node-facts', facts }]));
    hub.workerReady(2);
    expect(sent.at(-1)).toEqual([2, { type: 'node-facts', facts }]);
  });

  it('tell() tells one worker, and nobody when there is none', () => {
    const { hub, sent, live } = fixture([3, 4]);
    const change = { type: 'activated', alarm: {} } as never;
    hub.tell(change);
    live.length = 0;
    hub.tell(change);
    expect(sent).toEqual([[3, { type: 'alarm-change', change }]]);
  });

  it('ask() resolves with what all answered', async () => {
    const { hub, sent } = fixture([0, 1]);
    const answers = hub.ask('x', { of: 1 });
    const ids = sent.map(([, message]) => idOf(message));
    hub.handle(1, { type: 'answer', id: ids[1], answer: 'b' });
    hub.handle(0, { type: 'answer', id: ids[0], answer: 'a' });
    expect(await answers).toEqual({ answers: ['b', 'a'], missingCount: 0 });
    hub.handle(0, { type: 'answer', id: ids[0], answer: 'late' });
  });

  it('ask() counts workers that die, that say nothing and that are not there', async () => {
    const { hub, sent, live } = fixture([0, 1, 2]);
    const answers = hub.ask('x', null);
    hub.handle(0, { type: 'answer', id: idOf(sent[0][1]), answer: 'a' });
    hub.workerGone(1);
    expect(await answers).toEqual({ answers: ['a'], missingCount: 2 });
    live.length = 0;
    expect(await hub.ask('x', null)).toEqual({ answers: [], missingCount: 0 });
  });

  it('ask() does not wait when too many questions are open, nor after stop()', async () => {
    const { hub, sent } = fixture([0]);
    const open = Array.from({ length: 64 }, () => hub.ask('x', null));
    expect(await hub.ask('x', null)).toEqual({ answers: [], missingCount: 1 });
    expect(sent.length).toBe(64);
    hub.stop();
    expect((await Promise.all(open)).every(({ missingCount }) => missingCount === 1)).toBe(true);
  });
});
