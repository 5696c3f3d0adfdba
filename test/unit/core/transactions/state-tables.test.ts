// The tables of states in the documentation are those of the code.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { bucketTransitions, messageTransitions } from '../../../../src/core/delayed/delayed-state.ts';
import { halfTransitions } from '../../../../src/core/transactions/half-state.ts';
import { transactionTransitions } from '../../../../src/core/transactions/transaction-state.ts';

type Outcome = string | { readonly refused: string };

/** One row for each event, one column for each state. */
function render(table: Readonly<Record<string, Readonly<Record<string, Outcome>>>>): string {
  const states = Object.keys(table);
  const lines = [`| event | ${states.join(' | ')} |`, `|${'---|'.repeat(states.length + 1)}`];
  for (const event of Object.keys(table[states[0]])) {
    const cells = states.map((state) => cell(state, table[state][event]));
    lines.push(`| \`${event}\` | ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

function cell(state: string, outcome: Outcome): string {
  if (typeof outcome !== 'string') return outcome.refused.replace('TRANSACTION_', '');
  if (outcome === 'never') return '-';
  return outcome === state ? '=' : `**${outcome}**`;
}

it.each([
  ['delayed.md', 'messages', messageTransitions],
  ['delayed.md', 'buckets', bucketTransitions],
  ['transactions.md', 'transactions', transactionTransitions],
  ['transactions.md', 'half messages', halfTransitions],
])('docs/internals/%s prints the table of %s', (file, _, table) => {
  const text = readFileSync(new URL(`../../../../docs/internals/${file}`, import.meta.url), 'utf8');
  expect(text).toContain(render(table));
});
