/** `ringmq ctl bridge …`: bridges to other brokers. Main thread of the command's process; run by `commands/ctl.ts`. */
import { EXIT_OK } from '../exit-codes.ts';
import { showTime } from './fields.ts';
import { showText } from './printer.ts';
import { AdminClient, httpOptions } from './stream-client.ts';
import type { Group, Verb } from './verb.ts';

interface BridgeList {
  readonly bridges: readonly {
    readonly name: string;
    readonly state: string;
    /** Absent while the worker that has it does not answer, as all that follows. */
    readonly sinceMs?: number;
    readonly server?: string;
    readonly problem?: string;
    readonly waiting?: number | null;
    readonly sent?: number;
    readonly received?: number;
    readonly droppedOut: number;
    readonly droppedIn: number;
  }[];
  readonly missingWorkers: number;
}

const columns = ['NAME', 'STATE', 'SINCE', 'SERVER', 'WAITING', 'SENT', 'RECEIVED', 'DROPPED', 'PROBLEM'];

const list: Verb = {
  summary: 'bridges, whether they are connected, and what waits for them',
  values: [],
  notes: 'Counts are those since the broker began. DROPPED is on the way out / on the way in.',
  run: async ({ options, print }) => {
    const answer = await new AdminClient(options).get<BridgeList>('/bridges');
    print.table(answer, columns, answer.bridges.map(rowOf));
    return EXIT_OK;
  },
};

function rowOf(bridge: BridgeList['bridges'][number]): (string | number)[] {
  const { name, state, sinceMs, server, waiting, sent, received, droppedOut, droppedIn, problem } = bridge;
  const since = sinceMs === undefined ? '-' : showTime(sinceMs);
  const counts = [waiting ?? '-', sent ?? '-', received ?? '-', `${droppedOut}/${droppedIn}`];
  return [
    name,
    state,
    since,
    server ?? '-',
    ...counts,
    problem === undefined || problem === '' ? '-' : showText(problem),
  ];
}

export const bridge: Group = {
  summary: 'bridges to other brokers',
  connection: httpOptions,
  verbs: new Map([['list', list]]),
};
