/**
 * Says whether the history of one key could have happened on a single register: the search of Wing and Gong with Lowe's
 * memory of states that were tried, as in porcupine. An operation without an answer may take effect at any time after its
 * call, or never.
 */

/** What an operation did to one key. `null` is a missing key; every value that is written is written once only. */
export type RegisterAction =
  | { readonly type: 'read'; readonly value: string | null }
  | { readonly type: 'write'; readonly value: string | null }
  /** Compare and set. `didSet` null: nobody knows. */
  | {
      readonly type: 'cas';
      readonly expected: string | null;
      readonly value: string | null;
      readonly didSet: boolean | null;
    };

export interface RegisterOperation {
  readonly id: number;
  /** Position of the call among all calls and answers. */
  readonly start: number;
  /** Position of the answer; Infinity when none came. */
  readonly end: number;
  readonly action: RegisterAction;
}

export type Verdict =
  | { readonly isLinearizable: true }
  /** The search gave up: too many operations were under way at once. */
  | { readonly isLinearizable: null }
  /** `longest` is the longest part, in order, that could have happened; `stuck` what could not come next. */
  | {
      readonly isLinearizable: false;
      readonly longest: readonly RegisterOperation[];
      readonly stuck: readonly RegisterOperation[];
    };

/** The state after the operation, or undefined when it cannot happen in this state. */
function step(state: string | null, action: RegisterAction): string | null | undefined {
  switch (action.type) {
    case 'read':
      return action.value === state ? state : undefined;
    case 'write':
      return action.value;
    case 'cas': {
      const fits = state === action.expected;
      if (action.didSet !== null && action.didSet !== fits) return undefined;
      return fits ? action.value : state;
    }
  }
}

/** Drops what has no answer and no visible effect: it can always be put at the end. */
function withoutNeedless(operations: readonly RegisterOperation[]): RegisterOperation[] {
  const seen = new Set<string | null>();
  for (const { action } of operations) {
    if (action.type === 'read') seen.add(action.value);
    if (action.type === 'cas') seen.add(action.expected);
  }
  const hasRefusedCas = operations.some(({ action }) => action.type === 'cas' && action.didSet === false);
  return operations.filter(({ end, action }) => {
    if (end !== Number.POSITIVE_INFINITY) return true;
    if (action.type === 'read') return false;
    return hasRefusedCas || seen.has(action.value);
  });
}

interface Node {
  readonly operation: RegisterOperation;
  readonly bit: number;
  readonly isCall: boolean;
  /** Of a call. */
  answer: Node | null;
  previous: Node | null;
  next: Node | null;
}

/** Calls and answers as a list in order of time; answers that never came are at the end. */
function makeList(operations: readonly RegisterOperation[]): Node {
  const points: { readonly at: number; readonly node: Node }[] = [];
  operations.forEach((operation, bit) => {
    const answer: Node = { operation, bit, isCall: false, answer: null, previous: null, next: null };
    const call: Node = { operation, bit, isCall: true, answer, previous: null, next: null };
    points.push({ at: operation.start, node: call }, { at: operation.end, node: answer });
  });
  points.sort((left, right) => (left.at === right.at ? 0 : left.at - right.at));
  const head: Node = {
    operation: { id: -1, start: -1, end: -1, action: { type: 'read', value: null } },
    bit: -1,
    isCall: false,
    answer: null,
    previous: null,
    next: null,
  };
  let last = head;
  for (const { node } of points) {
    node.previous = last;
    last.next = node;
    last = node;
  }
  return head;
}

function lift(call: Node): void {
  const { answer } = call;
  unlink(call);
  if (answer !== null) unlink(answer);
}

function unlink(node: Node): void {
  if (node.previous !== null) node.previous.next = node.next;
  if (node.next !== null) node.next.previous = node.previous;
}

function unlift(call: Node): void {
  const { answer } = call;
  if (answer !== null) relink(answer);
  relink(call);
}

function relink(node: Node): void {
  if (node.previous !== null) node.previous.next = node;
  if (node.next !== null) node.next.previous = node;
}

/** Which operations are in the order so far. */
class BitSet {
  readonly #words: Uint32Array;

  constructor(size: number) {
    this.#words = new Uint32Array((size + 31) >>> 5);
  }

  set(bit: number): void {
    const word = bit >>> 5;
    this.#words[word] = (this.#words[word] as number) | (1 << (bit & 31));
  }

  clear(bit: number): void {
    const word = bit >>> 5;
    this.#words[word] = (this.#words[word] as number) & ~(1 << (bit & 31));
  }

  key(): string {
    return this.#words.join(',');
  }
}

/** Checks one key; gives up after `stepsMax` steps of the search. */
export function checkRegister(
  history: readonly RegisterOperation[],
  options: { readonly initial: string | null; readonly stepsMax: number },
): Verdict {
  const operations = withoutNeedless(history);
  const head = makeList(operations);
  const done = new BitSet(operations.length);
  const tried = new Set<string>();
  const stack: { readonly call: Node; readonly state: string | null }[] = [];
  let longest: RegisterOperation[] = [];
  let stuck: RegisterOperation[] = [];
  let state = options.initial;
  let entry = head.next;
  let steps = 0;
  while (head.next !== null) {
    if (++steps > options.stepsMax) return { isLinearizable: null };
    if (entry?.isCall) {
      const after = step(state, entry.operation.action);
      if (after !== undefined) {
        done.set(entry.bit);
        const key = `${after ?? '\u0000'}|${done.key()}`;
        if (!tried.has(key)) {
          tried.add(key);
          stack.push({ call: entry, state });
          state = after;
          lift(entry);
          entry = head.next;
          continue;
        }
        done.clear(entry.bit);
      }
      entry = entry.next;
      continue;
    }
    // An answer whose call is not in the order yet: nothing before it can come next.
    if (entry !== null && entry.operation.end === Number.POSITIVE_INFINITY && isAllUnanswered(head)) {
      return { isLinearizable: true };
    }
    if (stack.length > longest.length || longest.length === 0) {
      longest = stack.map(({ call }) => call.operation);
      stuck = callsUpTo(head, entry);
    }
    const last = stack.pop();
    if (last === undefined) return { isLinearizable: false, longest, stuck };
    state = last.state;
    done.clear(last.call.bit);
    unlift(last.call);
    entry = last.call.next;
  }
  return { isLinearizable: true };
}

/** Whatever is left has no answer and may never have happened. */
function isAllUnanswered(head: Node): boolean {
  for (let node = head.next; node !== null; node = node.next) {
    if (node.operation.end !== Number.POSITIVE_INFINITY) return false;
  }
  return true;
}

function callsUpTo(head: Node, end: Node | null): RegisterOperation[] {
  const result: RegisterOperation[] = [];
  for (let node = head.next; node !== null && node !== end; node = node.next) {
    if (node.isCall) result.push(node.operation);
  }
  return result;
}
