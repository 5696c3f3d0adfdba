import { describe, expect, it } from 'vitest';
import type { SessionOwner } from '../../../../src/core/ports/session-directory.ts';
import type { WorkerToMain } from '../../../../src/workers/messages.ts';
import { WorkerSessionDirectory } from '../../../../src/workers/runtime/session-directory.ts';

const owner: SessionOwner = {
  yieldSession: () => undefined,
  releaseSession: () => undefined,
  discardSession: () => undefined,
  keepSession: () => undefined,
  dropCopy: () => undefined,
};

function createDirectory(): {
  directory: WorkerSessionDirectory;
  posted: WorkerToMain[];
  granted: string[];
  claim(name: string): void;
} {
  const posted: WorkerToMain[] = [];
  const granted: string[] = [];
  const directory = new WorkerSessionDirectory(2, { catchUp: () => undefined }, (message) => posted.push(message));
  directory.register('scope', owner);
  const claim = (name: string): void =>
    directory.claim('scope', name, true, false, {
      install: () => 0,
      granted: () => granted.push(name),
      refused: () => undefined,
    });
  return { directory, posted, granted, claim };
}

describe('WorkerSessionDirectory', () => {
  it('release() keeps the name while another claim of this worker waits: the hub may have granted it already', () => {
    const { directory, posted, granted, claim } = createDirectory();
    claim('a');
    claim('a');
    directory.handle({ type: 'granted', request: 1, state: undefined });
    directory.release('scope', 'a');
    expect(posted.map(({ type }) => type)).toEqual(['claim', 'claim']);
    directory.handle({ type: 'granted', request: 2, state: undefined });
    expect(granted).toEqual(['a', 'a']);
    directory.release('scope', 'a');
    expect(posted.map(({ type }) => type)).toEqual(['claim', 'claim', 'release']);
  });

  it('release() tells the hub when no claim waits, and once only', () => {
    const { directory, posted, claim } = createDirectory();
    claim('a');
    claim('b');
    directory.handle({ type: 'granted', request: 1, state: undefined });
    directory.release('scope', 'a');
    directory.release('scope', 'a');
    expect(posted.filter(({ type }) => type === 'release')).toEqual([{ type: 'release', scope: 'scope', name: 'a' }]);
  });
});
