import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { groupEvents, groupStates, groupTransitions } from '../../../../src/core/queues/group-state.ts';
import { messageEvents, messageStates, messageTransitions } from '../../../../src/core/queues/message-state.ts';

/** Events down, states across. */
function tableOf(events: readonly string[], states: readonly string[], cell: (state: string, event: string) => string) {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    row(['event', ...states]),
    row(['---', ...states.map(() => '---')]),
    ...events.map((event) => row([event, ...states.map((state) => cell(state, event))])),
  ].join('\n');
}

const tables = [
  tableOf(messageEvents, messageStates.slice(0, -1), (state, event) => {
    return messageTransitions[state as 'ready'][event as 'claim'] ?? '·';
  }),
  tableOf(groupEvents, groupStates, (state, event) => {
    const outcome = groupTransitions[state as 'free'][event as 'claim'];
    return typeof outcome === 'string' ? outcome : `\`${outcome.refused.replace('QUEUE_', '')}\``;
  }),
];

test('docs/internals/queues.md has the transition tables as they are', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../../docs/internals/queues.md'), 'utf8');
  for (const table of tables) expect(text).toContain(table);
});
