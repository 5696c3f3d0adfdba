/**
 * `ringmq ctl journal …`, as far as the help of `ctl` names it. It opens data folders, so the broker's program does it:
 * `bin/ringmq.js` looks for the words in this order, and this is met only when they stand in another one. Main thread.
 */
import { UsageError } from '../exit-codes.ts';
import type { Group, Verb } from './verb.ts';

function offline(verb: string, summary: string): Verb {
  return {
    summary,
    values: ['--data DIR'],
    isOffline: true,
    run: () => {
      throw new UsageError(
        `Cannot run "journal ${verb}": write "ringmq ctl journal ${verb} --data DIR", in this order`,
      );
    },
  };
}

export const journal: Group = {
  summary: 'files of the journal, without a broker',
  verbs: new Map([
    ['verify', offline('verify', 'read all files, and name what is damaged')],
    ['dump', offline('dump', 'print records')],
  ]),
};
