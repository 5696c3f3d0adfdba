/** Names of sessions in a cluster: real hubs, workers' halves and placement state of several nodes; owners of a test. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { keyName } from '../../../../src/main/directory/owner-records.ts';
import { sessionNodeKind } from '../../../../src/raft/placement/records/session-node.ts';
import { sessionOwnerKind } from '../../../../src/raft/placement/records/session-owner.ts';
import {
  type NodeOptions,
  scope,
  TestNode,
  TestPlacement,
  type ToySession,
} from '../../../support/sessions/session-nodes.ts';

let placement: TestPlacement;
let network: Map<string, TestNode>;
const all: TestNode[] = [];

afterEach(() => {
  for (const node of all.splice(0)) node.stop();
});

function make(name: string, options: NodeOptions = {}): TestNode {
  const node = new TestNode(name, network, placement, options);
  all.push(node);
  return node;
}

async function cluster(names: readonly string[], options: NodeOptions = {}): Promise<TestNode[]> {
  placement = new TestPlacement();
  network = new Map();
  const nodes = names.map((name) => make(name, options));
  await Promise.all(nodes.map((node) => node.open(names)));
  await vi.waitFor(() => expect(names.map(isKnown)).toEqual(names.map(() => true)));
  return nodes;
}

function recordOf(name: string) {
  const result = placement.machine.query({
    ...{ type: 'range', scope: 'records', key: sessionOwnerKind.key(scope, keyName(name)), end: null, limit: 0 },
    ...{ isReverse: false, keysOnly: false, countOnly: false, consistency: 'serializable' },
  });
  const [item] = result.type === 'range' ? result.items : [];
  return item === undefined ? null : sessionOwnerKind.decode(item.value);
}

function isKnown(node: string): boolean {
  const result = placement.machine.query({
    ...{ type: 'range', scope: 'records', key: sessionNodeKind.key(node), end: null, limit: 0 },
    ...{ isReverse: false, keysOnly: false, countOnly: true, consistency: 'serializable' },
  });
  return result.type === 'range' && result.count === 1;
}

function stored(...parts: string[]): ToySession {
  return { parts, isLasting: true, isMoving: false, arrival: 0 };
}

/** The next life of a node: what is stored is there, in memory nothing. */
async function restart(node: TestNode, members: readonly string[]): Promise<TestNode> {
  node.isUp = false;
  node.stop();
  const next = make(node.name);
  for (const [worker, owner] of node.owners.entries()) {
    for (const [name, session] of owner.sessions) {
      if (session.isLasting) next.owners[worker].sessions.set(name, { ...session, isMoving: session.arrival !== 0 });
    }
  }
  await next.open(members);
  return next;
}

describe('a node that is alone', () => {
  it('asks nobody, and writes nothing', async () => {
    placement = new TestPlacement();
    network = new Map();
    const a = make('a');
    await a.open(['a']);
    const before = a.messageCount;
    expect(await a.connect('x')).toBe('');
    expect(await a.hold('n', 'x')).toBe(true);
    a.directories[0].release(scope, 'x');
    a.directories[0].letGo('n', 'x');
    await a.turn();
    expect([a.messageCount - before, placement.writes]).toEqual([0, 0]);
  });

  it('makes known what it has when another one comes, which then gets it', async () => {
    for (const workers of [1, 2]) {
      placement = new TestPlacement();
      network = new Map();
      const a = make('a', { workers });
      await a.open(['a']);
      await a.connect('x');
      await a.connect('live', { isLasting: false });
      a.owners[0].sessions.get('x')?.parts.push('one');
      const b = make('b', { workers });
      // It asks before the first one has looked through its sessions.
      await b.open(['a', 'b']);
      const taken = b.connect('x');
      a.setMembers(['a', 'b']);
      expect(await taken).toBe('one');
      expect(await b.connect('live', { isLasting: false })).toBe('');
      await vi.waitFor(() => expect(a.owners[0].sessions.size).toBe(0));
    }
  });
});

describe('take()', () => {
  it('writes once for a name, and not again while it is here; its end removes the record', async () => {
    const [a] = await cluster(['a', 'b']);
    const before = placement.writes;
    expect(await a.connect('x')).toBe('');
    expect(await a.connect('x')).toBe('');
    expect(await a.connect('x', { isLasting: false })).toBe('');
    expect(placement.writes - before).toBe(1);
    expect(recordOf('x')).toMatchObject({ node: 'a', nodeEpoch: a.nodeEpoch, isLasting: true });
    a.directories[0].release(scope, 'x');
    await vi.waitFor(() => expect(recordOf('x')).toBeNull());
    expect(await a.connect('x')).toBe('');
    expect(recordOf('x')).toMatchObject({ node: 'a' });
  });

  it('makes a session known as lasting when it begins to be', async () => {
    const [a] = await cluster(['a', 'b']);
    await a.connect('x', { isLasting: false });
    expect(recordOf('x')).toMatchObject({ isLasting: false });
    await a.connect('x');
    expect(recordOf('x')).toMatchObject({ isLasting: true });
  });

  it('tells names apart that are too long for a key', async () => {
    const [a, b] = await cluster(['a', 'b']);
    const long = 'x'.repeat(5_000);
    await a.connect(`${long}1`);
    await b.connect(`${long}2`);
    expect([recordOf(`${long}1`)?.node, recordOf(`${long}2`)?.node]).toEqual(['a', 'b']);
  });

  it('carries a stored session over, in order, and ends it where it was', async () => {
    const [a, b] = await cluster(['a', 'b'], { workers: 2 });
    await a.connect('x');
    a.owners[0].sessions.get('x')?.parts.push('one', 'two', 'three');
    expect(await b.connect('x', { worker: 1 })).toBe('one two three');
    expect(recordOf('x')).toMatchObject({ node: 'b' });
    await vi.waitFor(() => expect(a.owners[0].calls).toEqual(['depart x', 'departed x']));
    expect(a.hub.has(scope, 'x')).toBe(false);
    // To another worker there, and back.
    expect(await b.connect('x', { worker: 0 })).toBe('one two three');
    expect(await a.connect('x', { worker: 1 })).toBe('one two three');
    await vi.waitFor(() => expect(b.hub.has(scope, 'x')).toBe(false));
  });

  it('ends a session in memory where it was', async () => {
    const [a, b] = await cluster(['a', 'b']);
    await a.connect('x', { isLasting: false });
    expect(await b.connect('x', { isLasting: false })).toBe('');
    expect(a.owners[0].sessions.has('x')).toBe(false);
    expect(a.hub.has(scope, 'x')).toBe(false);
  });

  it('with discard takes the name whoever has it, and ends the session there', async () => {
    const [a, b] = await cluster(['a', 'b']);
    await a.connect('x');
    expect(await b.connect('x', { discard: true })).toBe('');
    await vi.waitFor(() => expect(a.owners[0].calls).toEqual(['discard x']));
    a.isUp = false;
    await b.connect('y');
    expect(recordOf('x')).toMatchObject({ node: 'b' });
  });

  it('serves claims of two nodes at the same time one after the other', async () => {
    const [a, b] = await cluster(['a', 'b']);
    await a.connect('x');
    a.owners[0].sessions.get('x')?.parts.push('one');
    for (let round = 0; round < 5; round += 1) {
      const answers = await Promise.all([a.connect('x'), b.connect('x')]);
      expect(answers.filter((answer) => answer !== 'refused').every((answer) => answer === 'one')).toBe(true);
      const owner = recordOf('x')?.node;
      await vi.waitFor(() => {
        const holders = [a, b].filter(({ owners }) => owners[0].sessions.has('x')).map(({ name }) => name);
        expect(holders).toEqual([owner]);
      });
    }
  });
});

describe('a node that does not answer', () => {
  it('keeps its stored sessions until it is back, or removed', async () => {
    const [a, b, c] = await cluster(['a', 'b', 'c']);
    await a.connect('x');
    await a.connect('y');
    await a.connect('live', { isLasting: false });
    a.owners[0].sessions.get('x')?.parts.push('one');
    a.isUp = false;
    expect(await b.connect('x')).toBe('refused');
    expect(b.logged.join()).toContain('node \\"a\\" has it');
    expect(await b.connect('y', { discard: true })).toBe('');
    placement.expire('a', a.nodeEpoch);
    expect(await b.connect('live', { isLasting: false })).toBe('');
    const next = await restart(a, ['a', 'b', 'c']);
    expect(await b.connect('x')).toBe('one');
    await vi.waitFor(() => expect(next.owners[0].sessions.size).toBe(0));
    await next.connect('z');
    next.isUp = false;
    placement.expire('a', next.nodeEpoch);
    for (const node of [b, c]) node.setMembers(['b', 'c']);
    expect(await c.connect('z')).toBe('');
    expect(c.logged.join()).toContain('given up');
  });

  it('loses them after ownerLostAfterMs', async () => {
    const [a, b] = await cluster(['a', 'b'], { ownerLostAfterMs: 200 });
    await a.connect('x');
    a.isUp = false;
    placement.expire('a', a.nodeEpoch);
    expect(await b.connect('x')).toBe('');
    expect(recordOf('x')).toMatchObject({ node: 'b' });
  });
});

describe('a move that is cut', () => {
  it('leaves the session where it was when the new node dies before it has the record', async () => {
    const [a, b] = await cluster(['a', 'b']);
    await a.connect('x');
    a.owners[0].sessions.get('x')?.parts.push('one', 'two');
    let calls = 0;
    a.beforeCall = () => {
      calls += 1;
      if (calls === 3) b.isUp = false;
    };
    const taking = b.connect('x');
    await vi.waitFor(() => expect(b.isUp).toBe(false));
    expect(recordOf('x')).toMatchObject({ node: 'a' });
    // The former owner looks up who has it when it hears nothing any more.
    expect(await a.connect('x')).toBe('one two');
    expect(a.owners[0].calls).toEqual(['depart x', 'keep x']);
    expect(await taking).toBe('refused');
  });

  it('is complete when the new node dies behind the record, and nothing when it dies before', async () => {
    for (const isComplete of [true, false]) {
      const [a, b] = await cluster(['a', 'b']);
      await a.connect('x');
      a.owners[0].sessions.get('x')?.parts.push('one');
      expect(await b.connect('x')).toBe('one');
      const epoch = recordOf('x')?.sessionEpoch ?? 0;
      const session = stored('one');
      b.owners[0].sessions.set('x', { ...session, isMoving: true, arrival: isComplete ? epoch : epoch + 1 });
      const next = await restart(b, ['a', 'b']);
      expect(await next.connect('x')).toBe(isComplete ? 'one' : '');
    }
  });

  it('goes on where it was when nobody leads', async () => {
    const [a, b] = await cluster(['a', 'b']);
    await a.connect('x');
    a.owners[0].sessions.get('x')?.parts.push('one');
    let calls = 0;
    a.beforeCall = () => {
      calls += 1;
      if (calls === 2) placement.isDown = true;
    };
    expect(await b.connect('x')).toBe('refused');
    placement.isDown = false;
    expect(await a.connect('x')).toBe('one');
    expect(recordOf('x')).toMatchObject({ node: 'a' });
  });

  it('gives an older copy up that comes back', async () => {
    const [a, b] = await cluster(['a', 'b']);
    await a.connect('x');
    const copy = stored('old');
    expect(await b.connect('x')).toBe('');
    a.owners[0].sessions.set('x', copy);
    const next = await restart(a, ['a', 'b']);
    await vi.waitFor(() => expect(next.owners[0].calls).toEqual(['drop x']));
    expect(recordOf('x')).toMatchObject({ node: 'b' });
  });
});

describe('hold()', () => {
  it('gives a name to one owner on all nodes, until it is given back or its node is gone', async () => {
    const [a, b] = await cluster(['a', 'b'], { workers: 2 });
    expect(await a.hold('n', 'x')).toBe(true);
    expect(await b.hold('n', 'y')).toBe(false);
    // The same session, on another worker and on another node.
    expect(await a.hold('n', 'x', 1)).toBe(true);
    a.directories[0].letGo('n', 'x');
    await a.turn(50);
    expect(await b.hold('n', 'y')).toBe(false);
    expect(await b.hold('n', 'x')).toBe(true);
    a.directories[1].letGo('n', 'x');
    await a.turn(50);
    expect(await a.hold('n', 'y')).toBe(false);
    b.plane.workerGone(0);
    await b.turn(50);
    expect(await a.hold('n', 'y')).toBe(true);
    expect(await b.hold('n', 'z')).toBe(false);
    placement.expire('a', a.nodeEpoch);
    expect(await b.hold('n', 'z')).toBe(true);
  });

  it('holds what a node had while it was alone', async () => {
    placement = new TestPlacement();
    network = new Map();
    const a = make('a');
    await a.open(['a']);
    expect(await a.hold('n', 'x')).toBe(true);
    const b = make('b');
    await b.open(['a', 'b']);
    a.setMembers(['a', 'b']);
    await vi.waitFor(() => expect(isKnown('a')).toBe(true));
    expect(await b.hold('n', 'y')).toBe(false);
  });

  it('keeps what it holds when its node was out of service for a while', async () => {
    const [a, b] = await cluster(['a', 'b']);
    expect(await a.hold('n', 'x')).toBe(true);
    a.setMembers(['a', 'b']);
    placement.expire('a', a.nodeEpoch);
    a.nodeEpoch = placement.register('a');
    a.setMembers(['a', 'b']);
    await a.turn(50);
    expect(await b.hold('n', 'y')).toBe(false);
  });

  it('refuses when the other nodes cannot be asked', async () => {
    const [a] = await cluster(['a', 'b']);
    placement.isDown = true;
    expect(await a.hold('n', 'x')).toBe(false);
  });
});
