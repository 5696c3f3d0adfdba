/**
 * The state machine against a model that is too simple to be wrong, with flushes, commits that end late and crashes in
 * between: whatever is where, answers and digests stay the same.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Compare, Operation, TransactionCommand } from '../../../../src/core/ports/placement.ts';
import { anyProposal } from '../../../support/placement-commands.ts';
import { bytes, PlacementMachine, range, remove, requestId, set } from '../../../support/placement-machine.ts';

interface Item {
  value: string;
  create: number;
  mod: number;
  version: number;
  lease: number;
}

/** Keys, leases and revisions, without any thought for speed or storage. */
class Model {
  readonly items = new Map<string, Item>();
  readonly leases = new Map<number, number>();
  /** What was answered to each request id, whatever it did. */
  readonly requests = new Map<number, string>();
  revision = 0;
  epoch = 0;

  shown(): string[] {
    const keys = [...this.items.keys()].sort();
    return keys.map((key) => {
      const { value, create, mod, version, lease } = this.items.get(key)!;
      return `${key}=${value}@${create}/${mod}/${version}${lease === 0 ? '' : `~${lease}`}`;
    });
  }

  write(step: WriteStep): string {
    const known = step.request === 0 ? undefined : this.requests.get(step.request);
    if (known !== undefined) return known.replace('done', 'repeat');
    const answer = this.apply(step);
    if (step.request !== 0 && step.success.length + step.failure.length > 0) this.requests.set(step.request, answer);
    return answer;
  }

  private apply(step: WriteStep): string {
    const succeeded = step.compares.every(({ key, version }) => (this.items.get(key)?.version ?? 0) === version);
    const operations = succeeded ? step.success : step.failure;
    if (isDuplicate(step.success) || isDuplicate(step.failure)) return 'DUPLICATE_KEY';
    if (operations.some((each) => each.type === 'set' && each.lease !== 0 && !this.leases.has(each.lease))) {
      return 'LEASE_NOT_FOUND';
    }
    const next = this.revision + 1;
    let changed = 0;
    for (const each of operations) {
      if (each.type === 'set') {
        const before = this.items.get(each.key);
        const create = before?.create ?? next;
        const version = (before?.version ?? 0) + 1;
        this.items.set(each.key, { value: each.value, create, mod: next, version, lease: each.lease });
        changed++;
      } else {
        for (const key of [...this.items.keys()]) {
          if (!covers(each, key)) continue;
          this.items.delete(key);
          changed++;
        }
      }
    }
    if (changed > 0) this.revision = next;
    return `done ${this.revision} ${succeeded}`;
  }

  grant(lease: number): string {
    if (this.leases.has(lease)) return 'LEASE_EXISTS';
    this.epoch++;
    this.leases.set(lease, this.epoch);
    return `lease ${this.epoch}`;
  }

  revoke(lease: number): string {
    if (!this.leases.delete(lease)) return 'LEASE_NOT_FOUND';
    const keys = [...this.items].filter(([, item]) => item.lease === lease).map(([key]) => key);
    for (const key of keys) this.items.delete(key);
    if (keys.length > 0) this.revision++;
    return `done ${this.revision}`;
  }
}

type ModelOperation =
  | { readonly type: 'set'; readonly key: string; readonly value: string; readonly lease: number }
  | { readonly type: 'delete'; readonly key: string; readonly end: string | null };

interface WriteStep {
  readonly type: 'write';
  readonly request: number;
  readonly compares: readonly { readonly key: string; readonly version: number }[];
  readonly success: readonly ModelOperation[];
  readonly failure: readonly ModelOperation[];
}

type Step =
  | WriteStep
  | { readonly type: 'grant'; readonly lease: number }
  | { readonly type: 'revoke'; readonly lease: number }
  | { readonly type: 'flush' }
  | { readonly type: 'finish' }
  | { readonly type: 'crash'; readonly keepPending: boolean }
  | {
      readonly type: 'look';
      readonly key: string;
      readonly end: string;
      readonly limit: number;
      readonly isReverse: boolean;
    };

function covers({ key, end }: { readonly key: string; readonly end: string | null }, candidate: string): boolean {
  return end === null ? candidate === key : candidate >= key && (end === '' || candidate < end);
}

function isDuplicate(operations: readonly ModelOperation[]): boolean {
  return operations.some(
    (each, index) =>
      each.type === 'set' &&
      operations.some((other, place) => {
        if (place === index) return false;
        return other.type === 'set' ? place > index && other.key === each.key : covers(other, each.key);
      }),
  );
}

function operationOf(each: ModelOperation): Operation {
  return each.type === 'set' ? set(each.key, each.value, { lease: each.lease }) : remove(each.key, each.end);
}

function commandOf(step: WriteStep): TransactionCommand {
  return {
    type: 'transaction',
    compares: step.compares.map(
      ({ key, version }): Compare => ({ key: bytes(key), target: 'version', relation: 'equal', operand: version }),
    ),
    success: step.success.map(operationOf),
    failure: step.failure.map(operationOf),
  };
}

const key = fc.constantFrom('a', 'a\x00', 'aa', 'b', 'ba', 'c', '\xff', '\xff\xff');
const end = fc.oneof(fc.constant(null), fc.constant(''), key);
const lease = fc.constantFrom(0, 0, 0, 1, 2);
const operation: fc.Arbitrary<ModelOperation> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('set' as const), key, value: fc.string({ maxLength: 3 }), lease }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('delete' as const), key, end }) },
);
const compares = fc.array(fc.record({ key, version: fc.nat(2) }), { maxLength: 2 });
const write = fc.record({
  type: fc.constant('write' as const),
  request: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 5 })),
  compares,
  success: fc.array(operation, { maxLength: 3 }),
  failure: fc.array(operation, { maxLength: 2 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: write },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('grant' as const), lease: fc.constantFrom(1, 2) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('revoke' as const), lease: fc.constantFrom(1, 2) }) },
  { weight: 2, arbitrary: fc.constant({ type: 'flush' as const }) },
  { weight: 3, arbitrary: fc.constant({ type: 'finish' as const }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('crash' as const), keepPending: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('look' as const),
      key,
      end: fc.oneof(fc.constant(''), key),
      limit: fc.integer({ min: 1, max: 4 }),
      isReverse: fc.boolean(),
    }),
  },
);

/** What the machine answered, in the words of the model. */
function answerOf(machine: PlacementMachine, each: Extract<Step, { type: 'write' | 'grant' | 'revoke' }>): string {
  const result =
    each.type === 'write'
      ? machine.run(commandOf(each), each.request === 0 ? null : requestId(each.request))
      : machine.run(
          each.type === 'grant'
            ? { type: 'lease-grant', lease: each.lease, ttlMs: 1_000 }
            : { type: 'lease-revoke', lease: each.lease },
        );
  switch (result.type) {
    case 'refused':
      return result.code;
    case 'transaction':
      return `${result.wasRepeated ? 'repeat' : 'done'} ${result.revision} ${result.succeeded}`;
    case 'lease':
      return `lease ${result.epoch}`;
    case 'done':
      return `done ${result.revision}`;
    default:
      return result.type;
  }
}

function modelAnswer(model: Model, each: Extract<Step, { type: 'write' | 'grant' | 'revoke' }>): string {
  if (each.type === 'write') return model.write(each);
  return each.type === 'grant' ? model.grant(each.lease) : model.revoke(each.lease);
}

function check(machine: PlacementMachine, model: Model, each: Step): void {
  switch (each.type) {
    case 'flush':
      machine.state.flush(() => undefined);
      return;
    case 'finish':
      machine.finishCommit();
      return;
    case 'crash':
      machine.crash(each.keepPending);
      machine.replay();
      return;
    case 'look': {
      const all = model.shown().filter((_, index) => covers(each, [...model.items.keys()].sort()[index]));
      const expected = (each.isReverse ? all.reverse() : all).slice(0, each.limit);
      const { limit, isReverse } = each;
      expect(machine.items(each.key, each.end, { limit, isReverse })).toEqual(expected);
      const counted = machine.query({
        ...range(each.key, each.end, { countOnly: true }),
        consistency: 'serializable',
      });
      expect(counted).toMatchObject({ type: 'range', count: all.length });
      return;
    }
    default:
      expect(answerOf(machine, each)).toBe(modelAnswer(model, each));
  }
}

describe('PlacementState against a model', () => {
  it('answers as the model does, wherever its rows are', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const machine = new PlacementMachine();
        const model = new Model();
        for (const each of steps) check(machine, model, each);
        expect(machine.items('\x01', '')).toEqual(model.shown());
        expect(machine.state.revision).toBe(model.revision);
      }),
      { numRuns: 400, interruptAfterTimeLimit: 8_000 },
    );
  });

  it('has the same digest after a crash at any place and a replay', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), fc.boolean(), (steps, keepPending) => {
        const machine = new PlacementMachine();
        const reference = new PlacementMachine();
        const model = new Model();
        for (const each of steps) check(machine, model, each);
        for (const entry of machine.log) reference.state.apply(entry);
        expect(machine.state.digest()).toBe(reference.state.digest());
        machine.crash(keepPending);
        machine.replay();
        expect(machine.state.digest()).toBe(reference.state.digest());
        machine.flush();
        expect(machine.state.digest()).toBe(reference.state.digest());
        machine.crash();
        expect(machine.state.appliedIndex).toBe(machine.log.length);
        expect(machine.state.digest()).toBe(reference.state.digest());
      }),
      { numRuns: 200, interruptAfterTimeLimit: 6_000 },
    );
  });

  it('takes every command that can be encoded, and comes to the same state in parts as at once', () => {
    fc.assert(
      fc.property(fc.array(anyProposal, { maxLength: 30, size: 'max' }), fc.nat(30), (proposals, place) => {
        const machine = new PlacementMachine();
        const reference = new PlacementMachine();
        proposals.forEach(({ command, requestId: id }, index) => {
          if (index === place) {
            machine.flush();
            machine.crash();
          }
          expect(machine.run(command, id)).toEqual(reference.run(command, id));
        });
        expect(machine.state.digest()).toBe(reference.state.digest());
      }),
      { numRuns: 300, interruptAfterTimeLimit: 5_000 },
    );
  });
});
