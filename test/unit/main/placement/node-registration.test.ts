/** The broker's registration against a placement centre that answers as it is told. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type Command,
  type CommandResult,
  PlacementError,
  type PlacementNode,
} from '../../../../src/core/ports/placement.ts';
import { NodeRegistration } from '../../../../src/main/placement/node-registration.ts';
import { createLogger } from '../../../../src/observability/log.ts';

const log = createLogger({ level: 'error', format: 'text', write: () => true });
let calls: string[];
let answers: (CommandResult | PlacementError)[];
let registration: NodeRegistration;

function answer(call: string): Promise<CommandResult> {
  calls.push(call);
  const next = answers.shift() ?? { type: 'node', node: 'one', epoch: 7 };
  return next instanceof PlacementError ? Promise.reject(next) : Promise.resolve(next);
}

const placement = {
  execute: (command: Command) => answer(command.type),
  heartbeat: (node: string, epoch: number) => answer(`heartbeat ${node} ${epoch}`),
} as Pick<PlacementNode, 'execute' | 'heartbeat'> as PlacementNode;

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  answers = [];
});
afterEach(async () => {
  await registration.stop();
  vi.useRealTimers();
});

function start(): void {
  registration = new NodeRegistration({ placement, node: 'one', addresses: [['a', '127.0.0.1:1']], log });
}

const refused = (code: 'NODE_FENCED' | 'NODE_NOT_FOUND'): CommandResult => ({ type: 'refused', code, message: code });

describe('NodeRegistration', () => {
  it('registers at once, says that it lives, and unregisters at the end', async () => {
    start();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(calls).toEqual(['node-register', 'heartbeat one 7', 'heartbeat one 7']);
    await registration.stop();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(calls.slice(3)).toEqual(['node-unregister']);
    expect(registration.problem()).toBeNull();
  });

  it('tries again while there is no leader', async () => {
    answers = [new PlacementError('NO_LEADER', 'none'), new PlacementError('NO_LEADER', 'none')];
    start();
    await vi.advanceTimersByTimeAsync(7_500);
    expect(calls).toEqual(['node-register', 'node-register', 'node-register', 'heartbeat one 7']);
  });

  it('registers again when it was taken out of service, and not when another node took its name', async () => {
    answers = [
      { type: 'node', node: 'one', epoch: 1 },
      refused('NODE_NOT_FOUND'),
      { type: 'node', node: 'one', epoch: 2 },
    ];
    answers.push(refused('NODE_FENCED'));
    start();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(calls).toEqual(['node-register', 'heartbeat one 1', 'node-register', 'heartbeat one 2']);
    expect(registration.problem()).toContain('same name');
  });
});
