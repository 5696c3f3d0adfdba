import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  flightEvents,
  flightStates,
  flightTransitions,
  receiptEvents,
  receiptStates,
  receiptTransitions,
} from '../../../../src/core/sessions/delivery-state.ts';

/** Events down, states across. */
function tableOf<State extends string, Event extends string>(
  events: readonly Event[],
  states: readonly State[],
  transitions: Readonly<Record<State, Readonly<Record<Event, State | null>>>>,
): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    row(['event', ...states]),
    row(['---', ...states.map(() => '---')]),
    ...events.map((event) => row([event, ...states.map((state) => transitions[state][event] ?? '·')])),
  ].join('\n');
}

test('docs/internals/sessions.md has the transition tables as they are', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../../docs/internals/sessions.md'), 'utf8');
  expect(text).toContain(tableOf(flightEvents, flightStates, flightTransitions));
  expect(text).toContain(tableOf(receiptEvents, receiptStates, receiptTransitions));
});
