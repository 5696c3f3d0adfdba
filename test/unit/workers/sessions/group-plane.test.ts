import { expect, test } from 'vitest';
import { groupKeyOf, shardOfGroup } from '../../../../src/core/sessions/groups/group-key.ts';
import type { GroupMessage, GroupTransport } from '../../../../src/core/sessions/groups/group-messages.ts';
import { GroupPlane } from '../../../../src/workers/sessions/group-plane.ts';
import { ControlPlaneHub } from '../../../support/control-plane.ts';

interface Worker {
  readonly plane: GroupPlane;
  readonly kept: string[];
  wanted: number;
}

const join: GroupMessage = {
  kind: 'join',
  request: 1,
  resident: { group: 'g', strategy: 'round-robin', count: 1 },
};

function workersOf(hub: ControlPlaneHub, count: number): Worker[] {
  return Array.from({ length: count }, (_, index) => {
    const worker: Worker = { plane: new GroupPlane(index, count, hub.add(index)), kept: [], wanted: 0 };
    worker.plane.onWanted = () => {
      worker.wanted += 1;
    };
    worker.plane.onKept = (group, isKept) => worker.kept.push(`${group} ${isKept}`);
    hub.ready(index);
    return worker;
  });
}

function opened(plane: GroupPlane, slot: number): { readonly transport: GroupTransport; readonly heard: string[] } {
  const transport = plane.transportOf(slot);
  const heard: string[] = [];
  transport.onMessages((from, messages) => heard.push(...messages.map(({ kind }) => `${from} ${kind}`)));
  transport.onSlotGone((gone) => heard.push(`${gone} gone`));
  plane.opened(slot);
  return { transport, heard };
}

/** A group that the worker owns. */
function groupOf(worker: number, workerCount: number): string {
  for (let number = 0; ; number += 1) {
    const key = groupKeyOf('', `g${number}`, 'a');
    if (shardOfGroup(key) % workerCount === worker) return key;
  }
}

test('send() reaches slots of other workers, of the same one, and nobody when there is none', async () => {
  const hub = new ControlPlaneHub();
  const [first, second] = workersOf(hub, 2);
  const zero = opened(first.plane, 0);
  const former = opened(first.plane, 2);
  const one = opened(second.plane, 1);
  expect([...one.transport.others()].sort()).toEqual([0, 2]);
  expect([...zero.transport.others()].sort()).toEqual([1, 2]);
  one.transport.send(2, [join]);
  zero.transport.send(2, [join]);
  zero.transport.send(7, [join]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(former.heard.filter((line) => line.endsWith('join'))).toEqual(['1 join', '0 join']);
  expect(one.heard).toEqual([]);
});

test('send() to the slot of a worker that has not opened it asks for it, and keeps what asks for groups', () => {
  const hub = new ControlPlaneHub();
  const [first, second] = workersOf(hub, 2);
  const { transport } = opened(first.plane, 0);
  transport.send(1, [{ kind: 'ready' }]);
  expect(second.wanted).toBe(0);
  transport.send(1, [{ kind: 'ready' }, join]);
  expect(second.wanted).toBe(1);
  expect(opened(second.plane, 1).heard).toEqual(['0 join']);
});

test('transportOf() is told of slots that were open before its worker was', () => {
  const hub = new ControlPlaneHub();
  const first = new GroupPlane(0, 2, hub.add(0));
  const { heard } = opened(first, 0);
  const second = new GroupPlane(1, 2, hub.add(1));
  const one = opened(second, 1);
  expect(one.transport.others()).toEqual([]);
  hub.ready(1);
  expect(one.transport.others()).toEqual([0]);
  // Each may have missed that the other one is ready.
  expect(one.heard).toEqual(['0 ready']);
  expect(heard).toContain('1 ready');
});

test('closed() and the death of a worker end slots for the others', () => {
  const hub = new ControlPlaneHub();
  const [first, second] = workersOf(hub, 2);
  const { heard, transport } = opened(first.plane, 0);
  opened(second.plane, 1);
  opened(second.plane, 3);
  second.plane.closed(3);
  expect(heard.filter((line) => line.endsWith('gone'))).toEqual(['3 gone']);
  hub.remove(1);
  expect(heard.filter((line) => line.endsWith('gone'))).toEqual(['3 gone', '1 gone']);
  expect(transport.others()).toEqual([]);
});

test('told() tells all workers of a group, those that begin later too', () => {
  const hub = new ControlPlaneHub();
  const [first, second] = workersOf(hub, 2);
  const mine = groupOf(0, 2);
  first.plane.told(mine, true);
  first.plane.told(groupOf(1, 2), true);
  expect([first.kept, second.kept]).toEqual([[`${mine} true`], [`${mine} true`]]);
  hub.remove(1);
  const successor = new GroupPlane(1, 2, hub.add(1));
  const kept: string[] = [];
  successor.onKept = (group) => kept.push(group);
  hub.ready(1);
  expect(kept).toEqual([mine]);
  first.plane.told(mine, false);
  expect(first.kept.at(-1)).toBe(`${mine} false`);
});
