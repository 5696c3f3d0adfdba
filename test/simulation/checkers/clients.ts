/**
 * Judges what clients are told: every answer against the model, no read and no write older than what was acknowledged
 * before it began, and at the end each key's history as a linearizable register.
 */
import type { CommandResult, KeyValue, QueryResult, Revision } from '../../../src/core/ports/placement.ts';
import { checkRegister, type RegisterAction, type RegisterOperation } from '../linearizability.ts';
import { describeItem, isSameItem, type Model, textOf } from '../model.ts';
import type { ReadCall, WriteCall } from '../operations.ts';
import { demand } from '../violation.ts';

/** An operation of a client from its first attempt to its answer. */
export interface Begun {
  readonly id: number;
  readonly position: number;
  /** Newest revision that any client had been told before. */
  readonly floor: Revision;
}

export interface ClientCounts {
  writes: number;
  reads: number;
  unknown: number;
  refused: number;
  undecidedKeys: number;
}

const searchStepsMax = 100_000;

export class ClientChecker {
  readonly counts: ClientCounts = { writes: 0, reads: 0, unknown: 0, refused: 0, undecidedKeys: 0 };
  readonly #model: Model;
  readonly #histories = new Map<string, RegisterOperation[]>();
  /** Ids of requests that certainly did nothing. */
  readonly #refused = new Set<string>();
  #position = 0;
  #nextId = 1;
  #acknowledged: Revision = 0;

  constructor(model: Model) {
    this.#model = model;
  }

  get acknowledgedRevision(): Revision {
    return this.#acknowledged;
  }

  begin(): Begun {
    return { id: this.#nextId++, position: this.#position++, floor: this.#acknowledged };
  }

  #record(begun: Begun, end: number, key: string, action: RegisterAction): void {
    let history = this.#histories.get(key);
    if (history === undefined) {
      history = [];
      this.#histories.set(key, history);
    }
    history.push({ id: begun.id, start: begun.position, end, action });
  }

  #saw(begun: Begun, revision: Revision): void {
    demand(
      revision >= begun.floor,
      'no-stale-read',
      () =>
        `Operation ${begun.id} answered as of revision ${revision}; ${begun.floor} had been acknowledged before it began`,
    );
    demand(
      revision <= this.#model.revision,
      'state-machine-safety',
      () =>
        `Operation ${begun.id} answered as of revision ${revision}; nobody has applied more than ${this.#model.revision}`,
    );
    this.#acknowledged = Math.max(this.#acknowledged, revision);
  }

  // --- writes ---

  onWrite(begun: Begun, call: WriteCall, result: CommandResult): void {
    if (result.type !== 'transaction') {
      this.#onOther(call, result);
      return;
    }
    this.counts.writes++;
    const { command } = call;
    demand(command.type === 'transaction', 'answer-fits-model', () => `A transaction answered ${call.command.type}`);
    const id = call.requestId === null ? null : textOf(call.requestId);
    if (id !== null) {
      const known = this.#model.requests.get(id);
      demand(
        known !== undefined,
        'no-lost-write',
        () => `Operation ${begun.id} was acknowledged with revision ${result.revision}; nobody has applied it`,
      );
      demand(
        known.revision === result.revision && known.succeeded === result.succeeded,
        'answer-fits-model',
        () =>
          `Operation ${begun.id} was told revision ${result.revision} ${result.succeeded}; it was applied as ` +
          `${known.revision} ${known.succeeded}`,
      );
    }
    this.#saw(begun, result.revision);
    if (!result.wasRepeated) this.#checkResults(begun, call, result);
    const end = this.#position++;
    for (const { key, action } of call.actions(result.succeeded)) this.#record(begun, end, key, action);
  }

  #checkResults(begun: Begun, call: WriteCall, result: CommandResult & { readonly type: 'transaction' }): void {
    if (call.command.type !== 'transaction') return;
    const operations = result.succeeded ? call.command.success : call.command.failure;
    demand(
      operations.length === result.results.length,
      'answer-fits-model',
      () => `Operation ${begun.id} of ${operations.length} operations has ${result.results.length} results`,
    );
    operations.forEach((operation, i) => {
      const answer = result.results[i];
      if (operation.type === 'set' && answer.type === 'set' && operation.returnPrevious) {
        this.#checkItem(begun, textOf(operation.key), result.revision - 1, answer.previous);
      }
      if (operation.type === 'range' && answer.type === 'range' && operations.length === 1) {
        const end = operation.end === null ? null : textOf(operation.end);
        this.#checkItems(begun, textOf(operation.key), end, result.revision, answer.items);
      }
    });
  }

  #onOther(call: WriteCall, result: CommandResult): void {
    if (result.type === 'refused') this.counts.refused++;
    else this.counts.writes++;
    demand(
      result.type !== 'refused' || call.mayBeRefused.includes(result.code),
      'answer-fits-model',
      () => `${call.command.type} was refused: ${JSON.stringify(result)}`,
    );
  }

  /** The client gave up: the write may have happened or may happen yet. */
  onUnknown(begun: Begun, call: WriteCall): void {
    this.counts.unknown++;
    for (const { key, action } of call.actions(null)) this.#record(begun, Number.POSITIVE_INFINITY, key, action);
  }

  /** Every attempt was refused by an error that promises that nothing happened. */
  onNothing(call: WriteCall): void {
    this.counts.refused++;
    if (call.requestId !== null) this.#refused.add(textOf(call.requestId));
  }

  // --- reads ---

  onRead(begun: Begun, call: ReadCall, result: QueryResult): void {
    this.counts.reads++;
    demand(
      result.type === 'range',
      'answer-fits-model',
      () => `Operation ${begun.id}, a range, answered ${JSON.stringify(result)}`,
    );
    const { query } = call;
    if (query.consistency === 'linearizable') this.#saw(begun, result.revision);
    const start = textOf(query.key);
    const end = query.end === null ? null : textOf(query.end);
    this.#checkItems(begun, start, end, result.revision, result.items);
    if (query.consistency !== 'linearizable') return;
    const position = this.#position++;
    for (const key of call.registers) {
      const item = result.items.find((each) => textOf(each.key) === key);
      this.#record(begun, position, key, { type: 'read', value: item === undefined ? null : textOf(item.value) });
    }
  }

  #checkItems(begun: Begun, start: string, end: string | null, revision: Revision, items: readonly KeyValue[]): void {
    const expected = this.#model.rangeAt(start, end, revision);
    demand(
      items.length === expected.length && items.every((item, i) => isSameItem(item, expected[i])),
      'answer-fits-model',
      () =>
        `Operation ${begun.id} saw at revision ${revision}: ${items.map(describeItem).join('; ')}, should be ` +
        expected.map(describeItem).join('; '),
    );
  }

  #checkItem(begun: Begun, key: string, revision: Revision, item: KeyValue | null): void {
    const expected = this.#model.at(key, revision);
    demand(
      isSameItem(item, expected),
      'answer-fits-model',
      () =>
        `Operation ${begun.id} was told that before it was ${describeItem(item)}, should be ${describeItem(expected)}`,
    );
  }

  // --- the end ---

  finish(): void {
    for (const id of this.#refused) {
      demand(
        !this.#model.requests.has(id),
        'refused-write-absent',
        () => `A write that was refused as not done was applied: ${JSON.stringify(this.#model.requests.get(id))}`,
      );
    }
    for (const [key, history] of this.#histories) {
      const verdict = checkRegister(history, { initial: null, stepsMax: searchStepsMax });
      if (verdict.isLinearizable === null) this.counts.undecidedKeys++;
      demand(
        verdict.isLinearizable !== false,
        'linearizability',
        () => `The history of ${key} is not linearizable: ${describeVerdict(verdict)}`,
      );
    }
  }
}

function describeVerdict(verdict: ReturnType<typeof checkRegister>): string {
  if (verdict.isLinearizable !== false) return '';
  const show = ({ id, start, end, action }: RegisterOperation) => `#${id} [${start}, ${end}] ${JSON.stringify(action)}`;
  return `after ${verdict.longest.slice(-6).map(show).join(', ')} none can come of ${verdict.stuck.map(show).join(', ')}`;
}
