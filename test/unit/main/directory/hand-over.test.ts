/**
 * The two halves of the session directory and of the control plane together: real hub, real worker sides, and queues in
 * between that the tests step through, one message at a time.
 */
import { describe, expect, it } from 'vitest';
import type { SessionOwner } from '../../../../src/core/ports/session-directory.ts';
import { BroadcastHub } from '../../../../src/main/directory/broadcast-hub.ts';
import { SessionDirectoryHub } from '../../../../src/main/directory/session-directory-hub.ts';
import type { MainToWorker, WorkerToMain } from '../../../../src/workers/messages.ts';
import { WorkerControlPlane } from '../../../../src/workers/runtime/control-plane.ts';
import { WorkerSessionDirectory } from '../../../../src/workers/runtime/session-directory.ts';

const SCOPE = 'toy';

class Owner implements SessionOwner {
  readonly calls: string[] = [];
  readonly sessions = new Map<string, string>();

  yieldSession(name: string): unknown {
    this.calls.push(`yield ${name}`);
    return this.sessions.has(name) ? `subscriptions of ${this.sessions.get(name)}` : undefined;
  }

  releaseSession(name: string, epoch: number): unknown {
    this.calls.push(`release ${name} at ${epoch}`);
    const state = this.sessions.get(name);
    this.sessions.delete(name);
    return state;
  }

  discardSession(name: string): void {
    this.calls.push(`discard ${name}`);
    this.sessions.delete(name);
  }

  keepSession(name: string): void {
    this.calls.push(`keep ${name}`);
  }

  dropCopy(name: string): void {
    this.calls.push(`drop ${name}`);
    this.sessions.delete(name);
  }
}

class Node {
  live: number[];
  readonly toWorker: [number, MainToWorker][] = [];
  readonly toMain: [number, WorkerToMain][] = [];
  readonly owners: Owner[];
  readonly directories: WorkerSessionDirectory[];
  readonly controls: WorkerControlPlane[];
  readonly sessions: SessionDirectoryHub;
  readonly broadcasts: BroadcastHub;
  readonly fenced: number[] = [];
  messageCount = 0;

  constructor(workerCount: number) {
    this.live = Array.from({ length: workerCount }, (_, index) => index);
    const workers = {
      liveWorkers: () => this.live,
      post: (worker: number, message: MainToWorker) => {
        if (this.live.includes(worker)) this.toWorker.push([worker, structuredClone(message)]);
      },
    };
    this.sessions = new SessionDirectoryHub(workers);
    this.broadcasts = new BroadcastHub(workers);
    this.owners = this.live.map(() => new Owner());
    const post = (worker: number) => (message: WorkerToMain) => {
      this.messageCount++;
      this.toMain.push([worker, structuredClone(message)]);
    };
    this.directories = this.live.map((worker) => {
      const rings = { catchUp: () => this.owners[worker].calls.push('catch up') };
      const directory = new WorkerSessionDirectory(workerCount, rings, post(worker));
      directory.register(SCOPE, this.owners[worker]);
      return directory;
    });
    this.controls = this.live.map((worker) => new WorkerControlPlane(workerCount, post(worker)));
  }

  /** Moves the oldest message; false when there is none. */
  step(): boolean {
    const up = this.toMain.shift();
    if (up !== undefined) {
      const [from, message] = up;
      if (!this.live.includes(from)) return true;
      if (message.type === 'broadcast' || message.type === 'broadcast-handled') this.broadcasts.handle(from, message);
      else if (message.type !== 'ready' && message.type !== 'drained')
        this.sessions.handle(from, message as Parameters<SessionDirectoryHub['handle']>[1]);
      return true;
    }
    const down = this.toWorker.shift();
    if (down === undefined) return false;
    const [to, message] = down;
    if (!this.live.includes(to)) return true;
    if (message.type === 'fence') this.fenced.push(to);
    if (message.type === 'broadcast-delivery') this.controls[to].deliver(message);
    else if (message.type === 'broadcast-done') this.controls[to].done(message.id);
    else this.directories[to].handle(message as Parameters<WorkerSessionDirectory['handle']>[0]);
    return true;
  }

  settle(): void {
    while (this.step());
  }

  /** Steps until a message of this type is the next to reach a worker. */
  stepUntilNext(type: MainToWorker['type']): void {
    for (;;) {
      if (this.toMain.length === 0 && this.toWorker[0]?.[1].type === type) return;
      expect(this.step(), `a message "${type}" comes`).toBe(true);
    }
  }

  kill(worker: number): void {
    this.live = this.live.filter((index) => index !== worker);
    this.sessions.workerGone(worker);
    this.broadcasts.workerGone(worker);
  }

  /** Claims and returns the list to which the answers are added. */
  claim(worker: number, name: string, discard = false, epoch = 7): string[] {
    const answers: string[] = [];
    this.directories[worker].claim(SCOPE, name, discard, false, {
      install: (state) => {
        answers.push(`install ${state}`);
        return epoch;
      },
      granted: ({ state }) => {
        answers.push(`granted ${state}`);
        if (!this.owners[worker].sessions.has(name)) this.owners[worker].sessions.set(name, `session of ${worker}`);
      },
      refused: () => answers.push('refused'),
    });
    return answers;
  }
}

describe('claim()', () => {
  it('answers before it returns and sends nothing on a node with one worker', () => {
    const node = new Node(1);
    expect(node.claim(0, 'a')).toEqual(['granted undefined']);
    node.directories[0].release(SCOPE, 'a');
    expect(node.messageCount).toBe(0);
  });

  it('asks the hub alone for a name that nobody owns', () => {
    const node = new Node(3);
    const answers = node.claim(1, 'a');
    node.settle();
    expect(answers).toEqual(['granted undefined']);
    expect(node.messageCount).toBe(1);
  });

  it('answers before it returns for a name that this worker owns', () => {
    const node = new Node(2);
    node.claim(0, 'a');
    node.settle();
    expect(node.claim(0, 'a')).toEqual(['granted undefined']);
    expect(node.messageCount).toBe(1);
  });

  it('hands a session over in order: yield, install, fence of all but the former owner, catch up, release, grant', () => {
    const node = new Node(3);
    node.claim(0, 'a');
    node.settle();
    const answers = node.claim(1, 'a', false, 42);
    node.settle();
    expect(answers).toEqual(['install subscriptions of session of 0', 'granted session of 0']);
    expect(node.owners[0].calls).toEqual(['yield a', 'catch up', 'release a at 42']);
    expect(node.fenced).toEqual([1, 2]);
    expect(node.sessions.ownerOf(SCOPE, 'a')).toBe(1);
    expect(node.sessions.transferCount).toBe(0);
  });

  it('with discard lets the former owner forget and hands nothing over', () => {
    const node = new Node(2);
    node.claim(0, 'a');
    node.settle();
    const answers = node.claim(1, 'a', true);
    node.settle();
    expect(answers).toEqual(['granted undefined']);
    expect(node.owners[0].calls).toEqual(['discard a']);
    expect(node.owners[0].sessions.size).toBe(0);
  });

  it('serves claims of one name in order of arrival', () => {
    const node = new Node(3);
    const order: number[] = [];
    for (const worker of [0, 1, 2, 0, 1]) {
      node.directories[worker].claim(SCOPE, 'a', false, false, {
        install: () => 1,
        granted: () => {
          order.push(worker);
          node.owners[worker].sessions.set('a', 'x');
        },
        refused: () => undefined,
      });
    }
    node.settle();
    expect(order).toEqual([0, 1, 2, 0, 1]);
    expect(node.sessions.ownerOf(SCOPE, 'a')).toBe(1);
  });

  it('is granted without state when the session ended while the question was on its way', () => {
    const node = new Node(2);
    node.claim(0, 'a');
    node.settle();
    const answers = node.claim(1, 'a');
    node.directories[0].release(SCOPE, 'a');
    node.settle();
    expect(answers).toEqual(['granted undefined']);
    expect(node.owners[0].calls).toEqual([]);
  });

  it('takes names like "__proto__" for names', () => {
    const node = new Node(2);
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const answers = node.claim(0, name);
      node.settle();
      expect(answers).toEqual(['granted undefined']);
    }
  });
});

describe('workerGone()', () => {
  for (const type of ['yield', 'install', 'fence', 'release-session'] as const) {
    it(`grants without state when the former owner dies before "${type}"`, () => {
      const node = new Node(3);
      node.claim(0, 'a');
      node.settle();
      const answers = node.claim(1, 'a');
      node.stepUntilNext(type);
      node.kill(0);
      node.settle();
      expect(answers.at(-1)).toBe('granted undefined');
      expect(answers.filter((answer) => answer.startsWith('granted'))).toHaveLength(1);
      expect(node.sessions.ownerOf(SCOPE, 'a')).toBe(1);
      expect(node.sessions.transferCount).toBe(0);
    });
  }

  for (const type of ['yield', 'install', 'fence'] as const) {
    it(`leaves the session with the former owner when the claimant dies before "${type}"`, () => {
      const node = new Node(3);
      node.claim(0, 'a');
      node.settle();
      node.claim(1, 'a');
      node.stepUntilNext(type);
      node.kill(1);
      node.settle();
      expect(node.sessions.ownerOf(SCOPE, 'a')).toBe(0);
      const answers = node.claim(2, 'a');
      node.settle();
      expect(answers.at(-1)).toBe('granted session of 0');
    });
  }

  it('leaves a name without owner when the claimant dies during the release', () => {
    const node = new Node(2);
    node.claim(0, 'a');
    node.settle();
    node.claim(1, 'a');
    node.stepUntilNext('release-session');
    node.kill(1);
    node.settle();
    expect(node.sessions.ownerOf(SCOPE, 'a')).toBeUndefined();
    expect(node.claim(0, 'a')).toEqual([]);
    node.settle();
    expect(node.sessions.ownerOf(SCOPE, 'a')).toBe(0);
  });

  it('does not wait for the fence of a worker that dies', () => {
    const node = new Node(3);
    node.claim(0, 'a');
    node.settle();
    const answers = node.claim(1, 'a');
    node.stepUntilNext('fence');
    node.kill(2);
    node.settle();
    expect(answers.at(-1)).toBe('granted session of 0');
    expect(node.fenced).toEqual([1]);
  });

  it('drops what a dead worker owned and the claims that it had waiting', () => {
    const node = new Node(3);
    node.claim(0, 'a');
    node.claim(0, 'b');
    node.settle();
    node.claim(1, 'a');
    node.claim(2, 'a');
    node.stepUntilNext('yield');
    node.kill(2);
    node.settle();
    expect(node.sessions.ownerOf(SCOPE, 'a')).toBe(1);
    node.kill(0);
    const answers = node.claim(1, 'b');
    node.settle();
    expect(answers).toEqual(['granted undefined']);
  });
});

describe('broadcast()', () => {
  it('is done before it returns when there is no other worker', () => {
    const node = new Node(1);
    let done = false;
    node.controls[0].broadcast('c', 1, () => {
      done = true;
    });
    expect(done).toBe(true);
  });

  it('is done when every other worker has handled it', () => {
    const node = new Node(3);
    const seen: string[] = [];
    for (const worker of [0, 1, 2]) {
      node.controls[worker].onBroadcast('c', (from, payload) => seen.push(`${worker} from ${from}: ${payload}`));
    }
    node.controls[1].broadcast('c', 'hello', () => seen.push('done'));
    node.settle();
    expect(seen).toEqual(['0 from 1: hello', '2 from 1: hello', 'done']);
    expect(node.broadcasts.pendingCount).toBe(0);
  });

  it('does not wait for a worker that dies', () => {
    const node = new Node(3);
    let doneCount = 0;
    for (const control of node.controls) control.onBroadcast('c', () => {});
    node.controls[0].broadcast('c', null, () => doneCount++);
    node.stepUntilNext('broadcast-delivery');
    node.kill(1);
    node.settle();
    expect(doneCount).toBe(1);
    node.controls[0].broadcast('c', null, () => doneCount++);
    node.kill(2);
    node.settle();
    expect(doneCount).toBe(2);
  });
});
