/** Offset cursors as a thread uses them that does not have them. Made by the services client of a thread. */
import type { CursorGroup, Cursors, FetchedCursor, OffsetCommit } from '../../../core/ports/cursors.ts';
import type { ServiceCalls } from './service-calls.ts';

const canRepeat = { canRepeat: true };

export function createCursors(calls: ServiceCalls): Cursors {
  return {
    claim: async (group, generation) => {
      await calls.run({ call: 'cursor-claim', group: String(group), generation: Number(generation) });
    },
    release: async (group, generation) => {
      await calls.run({ call: 'cursor-release', group: String(group), generation: Number(generation) });
    },
    // Setting a cursor again to the same place does no harm to a group whose members are fenced by their generation.
    commit: async (group, generation, commits) => {
      const options = generation === null ? {} : canRepeat;
      await calls.run(
        { call: 'cursor-commit', group: String(group), generation, commits: plainCommits(commits) },
        options,
      );
    },
    fetch: async (group, streams) => {
      const call = { call: 'cursor-fetch', group: String(group), streams: streams.map(String) } as const;
      return (await calls.run(call, canRepeat)) as readonly FetchedCursor[];
    },
    groups: async () => (await calls.run({ call: 'cursor-groups' }, canRepeat)) as readonly string[],
    describe: async (group) => {
      return (await calls.run({ call: 'cursor-describe', group: String(group) }, canRepeat)) as CursorGroup;
    },
    deleteCursors: async (group, streams) => {
      const call = { call: 'cursor-delete', group: String(group), streams: streams.map(String) } as const;
      return (await calls.run(call)) as readonly string[];
    },
    deleteGroup: async (group) => {
      await calls.run({ call: 'cursor-delete-group', group: String(group) });
    },
  };
}

/** Nothing but what a commit has: it goes to another thread. */
export function plainCommits(commits: readonly OffsetCommit[]): readonly OffsetCommit[] {
  return commits.map(({ stream, offset, leaderEpoch = -1, metadata = '' }) => {
    return {
      stream: String(stream),
      offset: Number(offset),
      leaderEpoch: Number(leaderEpoch),
      metadata: String(metadata),
    };
  });
}
