/**
 * What can happen to one message of an acknowledgement set: the states, the events and the total table of both. All
 * changes of state go through `nextState`, so the table is the behaviour and not a picture of it. Pure; any thread;
 * called by the acknowledgement set, and printed in docs/internals/queues.md.
 */

/**
 * `held`: a message of the same key is before it. `loading`: ready, and its bytes are not in memory. `claimed`: meant for a consumer,
 * and the record that counts the delivery is not stored yet. `dying`: on the way to the dead-letter stream.
 * `settled` is final: the message has no entry any more.
 */
export const messageStates = [
  'held',
  'loading',
  'ready',
  'claimed',
  'inFlight',
  'delayed',
  'dying',
  'settled',
] as const;

export type MessageState = (typeof messageStates)[number];

/**
 * | event | when |
 * |---|---|
 * | lock | another message of its key is found to be before it |
 * | unlock | the messages of its key that were before it are gone |
 * | missing | its bytes are needed and not in memory |
 * | loaded | its bytes are there |
 * | gone | its bytes are no longer in the stream |
 * | claim | a consumer with credit was found |
 * | handOver | the consumer gets it |
 * | unclaim | the consumer went before it got it: not counted as a delivery |
 * | acknowledge | the consumer is done with it |
 * | retry | failed, returned or timed out: again, at once |
 * | retryLater | the same, after a delay |
 * | extend | the consumer wants more time |
 * | due | the delay is over |
 * | bury | rejected, delivered too often, or expired, with a dead-letter stream |
 * | discard | the same without one, expired to be dropped, or purged |
 * | buried | the dead-letter stream has it |
 */
export const messageEvents = [
  'lock',
  'unlock',
  'missing',
  'loaded',
  'gone',
  'claim',
  'handOver',
  'unclaim',
  'acknowledge',
  'retry',
  'retryLater',
  'extend',
  'due',
  'bury',
  'discard',
  'buried',
] as const;

export type MessageEvent = (typeof messageEvents)[number];

/** No entry: the event means nothing in this state, and whoever asked is refused. */
type Row = Readonly<Record<MessageEvent, MessageState | null>>;

const none: Row = {
  lock: null,
  unlock: null,
  missing: null,
  loaded: null,
  gone: null,
  claim: null,
  handOver: null,
  unclaim: null,
  acknowledge: null,
  retry: null,
  retryLater: null,
  extend: null,
  due: null,
  bury: null,
  discard: null,
  buried: null,
};

export const messageTransitions: Readonly<Record<MessageState, Row>> = {
  held: {
    ...none,
    unlock: 'ready',
    missing: 'held',
    loaded: 'held',
    gone: 'settled',
    bury: 'dying',
    discard: 'settled',
  },
  loading: { ...none, lock: 'held', loaded: 'ready', gone: 'settled', bury: 'dying', discard: 'settled' },
  ready: {
    ...none,
    lock: 'held',
    missing: 'loading',
    loaded: 'ready',
    gone: 'settled',
    claim: 'claimed',
    bury: 'dying',
    discard: 'settled',
  },
  claimed: { ...none, handOver: 'inFlight', unclaim: 'ready' },
  inFlight: {
    ...none,
    acknowledge: 'settled',
    retry: 'ready',
    retryLater: 'delayed',
    extend: 'inFlight',
    bury: 'dying',
    discard: 'settled',
  },
  delayed: {
    ...none,
    lock: 'held',
    missing: 'delayed',
    loaded: 'delayed',
    gone: 'settled',
    due: 'ready',
    bury: 'dying',
    discard: 'settled',
  },
  dying: { ...none, missing: 'dying', loaded: 'dying', gone: 'settled', buried: 'settled' },
  settled: none,
};

const stateNumbers = new Map(messageStates.map((state, number) => [state, number]));
const eventNumbers = new Map(messageEvents.map((event, number) => [event, number]));

function numbersOf<Name extends string>(numbers: ReadonlyMap<Name, number>): Readonly<Record<Name, number>> {
  return Object.fromEntries(numbers) as Record<Name, number>;
}

/** Number of each state, as tables hold it. */
export const stateNumber = numbersOf(stateNumbers);
export const eventNumber = numbersOf(eventNumbers);
/** What `nextState` answers for an event that means nothing. */
export const refused = 255;

const width = messageEvents.length;
const compiled = new Uint8Array(messageStates.length * width).fill(refused);
for (const [state, row] of Object.entries(messageTransitions) as [MessageState, Row][]) {
  for (const [event, next] of Object.entries(row) as [MessageEvent, MessageState | null][]) {
    if (next !== null) compiled[stateNumber[state] * width + eventNumber[event]] = stateNumber[next];
  }
}

/** Numbers in, number out; `refused` when the event means nothing in the state. */
export function nextState(state: number, event: number): number {
  return compiled[state * width + event];
}
