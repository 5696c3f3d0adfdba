/** Names of stored sessions in the directory: they outlive their worker, and of two copies one is the session. */
import { describe, expect, it } from 'vitest';
import { SessionDirectoryHub } from '../../../../src/main/directory/session-directory-hub.ts';
import type { DirectoryToMain, MainToWorker } from '../../../../src/workers/messages.ts';

const scope = 'toy';

class Hub {
  live = [0, 1, 2];
  readonly sent: string[] = [];
  readonly hub = new SessionDirectoryHub({
    liveWorkers: () => this.live,
    post: (worker: number, message: MainToWorker) => {
      const { type, name, request } = message as { type: string; name?: string; request?: number };
      this.sent.push(`${worker} ${type} ${name ?? request ?? ''}`.trim());
    },
  });

  /** What was sent since the last call. */
  take(): string[] {
    return this.sent.splice(0);
  }

  handle(from: number, message: DirectoryToMain): string[] {
    this.hub.handle(from, message);
    return this.take();
  }

  claim(from: number, name: string, more: { isLasting?: boolean; discard?: boolean; request?: number } = {}): string[] {
    const { isLasting = true, discard = false, request = 1 } = more;
    return this.handle(from, { type: 'claim', request, scope, name, discard, isLasting });
  }

  announce(from: number, ...copies: (readonly [name: string, epoch: number])[]): string[] {
    const names = copies.map(([name]) => name);
    const epochs = copies.map(([, epoch]) => epoch);
    return this.handle(from, { type: 'announce', scope, names, epochs });
  }

  die(worker: number): void {
    this.live = this.live.filter((index) => index !== worker);
    this.hub.workerGone(worker);
  }
}

describe('SessionDirectoryHub', () => {
  it('workerGone() lets claims of lasting names wait until resumed(), and no others', () => {
    const node = new Hub();
    node.claim(0, 'kept');
    node.claim(0, 'plain', { isLasting: false });
    node.die(0);
    expect(node.claim(1, 'plain')).toEqual(['1 granted 1']);
    expect(node.claim(1, 'kept', { request: 7 })).toEqual([]);
    node.live = [0, 1, 2];
    node.announce(0, ['kept', 2]);
    node.hub.resumed(0);
    expect(node.take()).toEqual(['0 yield kept']);
    expect(node.hub.ownerOf(scope, 'kept')).toBe(0);
  });

  it('resumed() forgets names that the successor has not announced', () => {
    const node = new Hub();
    node.claim(0, 'gone');
    node.die(0);
    node.claim(1, 'gone');
    node.hub.resumed(0);
    expect(node.take()).toEqual(['1 granted 1']);
    expect(node.hub.ownerOf(scope, 'gone')).toBe(1);
  });

  it('lasting makes a name one that outlives its worker', () => {
    const node = new Hub();
    node.claim(0, 'late', { isLasting: false });
    node.handle(0, { type: 'lasting', scope, name: 'late' });
    node.die(0);
    expect(node.claim(1, 'late')).toEqual([]);
  });

  it('announce at the beginning keeps the copy with the higher epoch, whichever comes first', () => {
    const node = new Hub();
    expect(node.announce(0, ['a', 5], ['b', 5])).toEqual([]);
    expect(node.announce(1, ['a', 6], ['b', 3])).toEqual(['0 drop-copy a', '1 drop-copy b']);
    expect(node.hub.ownerOf(scope, 'a')).toBe(1);
    expect(node.hub.ownerOf(scope, 'b')).toBe(0);
  });

  it('announce later keeps what a living worker has', () => {
    const node = new Hub();
    node.hub.beginningEnds();
    node.claim(1, 'a');
    node.take();
    expect(node.announce(0, ['a', 99])).toEqual(['0 drop-copy a']);
    expect(node.hub.ownerOf(scope, 'a')).toBe(1);
  });

  it('transfer-failed keeps the session with its owner and refuses the claim', () => {
    const node = new Hub();
    node.claim(0, 'a');
    node.take();
    expect(node.claim(1, 'a', { request: 4 })).toEqual(['0 yield a']);
    expect(node.handle(0, { type: 'transfer-failed', transfer: 1 })).toEqual(['0 keep-session a', '1 refused 4']);
    expect(node.hub.ownerOf(scope, 'a')).toBe(0);
    expect(node.hub.transferCount).toBe(0);
  });

  it('workerGone() of a former owner grants what the new one is about to have, once it has it', () => {
    const node = new Hub();
    node.claim(0, 'a');
    node.claim(1, 'a', { request: 4 });
    node.handle(0, { type: 'yielded', transfer: 1, state: 'records' });
    node.die(0);
    expect(node.take()).not.toContain('1 granted 4');
    expect(node.handle(1, { type: 'installed', transfer: 1, epoch: 3 })).toEqual(['1 granted 4']);
    // The successor finds the older copy.
    node.hub.beginningEnds();
    expect(node.announce(0, ['a', 1])).toEqual(['0 drop-copy a']);
  });

  it('workerGone() of a former owner lets a claim wait that was not answered', () => {
    const node = new Hub();
    node.claim(0, 'a');
    node.claim(1, 'a', { request: 4 });
    node.take();
    node.die(0);
    expect(node.take()).toEqual([]);
    node.announce(0, ['a', 1]);
    node.hub.resumed(0);
    expect(node.take()).toEqual(['0 yield a']);
  });
});
