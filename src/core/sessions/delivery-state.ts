/**
 * What can happen to a message on its way to a client, and to the receipt of one that came from a client: total tables of states and
 * events. All changes go through them, and docs/internals/sessions.md shows them. Pure; any thread.
 */

/**
 * `storing`: grade 2, the record of its packet id is under way and it is not sent. `sent`: grade 1, waits for the acknowledgement.
 * `sentOnce`: grade 2, waits for the receipt. `receiving`: the receipt came, its record is under way. `received`: the release
 * was sent, or may be; waits for the completion. `settled`: done, the packet id is free.
 */
export const flightStates = ['storing', 'sent', 'sentOnce', 'receiving', 'received', 'settled'] as const;
export type FlightState = (typeof flightStates)[number];

/**
 * | event | when |
 * |---|---|
 * | stored | the record that was under way is durable |
 * | acknowledge | the client has a message of grade 1 |
 * | receive | the client has a message of grade 2 and will not take it again |
 * | complete | the client has forgotten the packet id |
 * | reject | the client refuses a message |
 * | gone | it has to be sent again, and a limit has dropped it meanwhile |
 */
export const flightEvents = ['stored', 'acknowledge', 'receive', 'complete', 'reject', 'gone'] as const;
export type FlightEvent = (typeof flightEvents)[number];

type FlightRow = Readonly<Record<FlightEvent, FlightState | null>>;
const nothing: FlightRow = { stored: null, acknowledge: null, receive: null, complete: null, reject: null, gone: null };

/** Null: the event means nothing in the state; from a client it is refused. */
export const flightTransitions: Readonly<Record<FlightState, FlightRow>> = {
  storing: { ...nothing, stored: 'sentOnce' },
  sent: { ...nothing, acknowledge: 'settled', reject: 'settled', gone: 'settled' },
  // The client may wait for the release: it is told to forget the packet id, which must not be used again before.
  sentOnce: { ...nothing, receive: 'receiving', reject: 'settled', gone: 'receiving' },
  receiving: { ...nothing, stored: 'received', receive: 'receiving' },
  received: { ...nothing, receive: 'received', complete: 'settled' },
  settled: nothing,
};

/**
 * `storing`: the message is on its way into the log, or the record of the receipt is, and nothing was confirmed. `open`: confirmed,
 * and not released. `releasing`: the record that forgets it is under way. `none`: the packet id is free.
 */
export const receiptStates = ['none', 'storing', 'open', 'releasing'] as const;
export type ReceiptState = (typeof receiptStates)[number];

/**
 * | event | when |
 * |---|---|
 * | publish | the client sends a message of grade 2 with this packet id |
 * | stored | what was under way is durable |
 * | failed | it was refused |
 * | release | the client has the confirmation |
 */
export const receiptEvents = ['publish', 'stored', 'failed', 'release'] as const;
export type ReceiptEvent = (typeof receiptEvents)[number];

export const receiptTransitions: Readonly<Record<ReceiptState, Readonly<Record<ReceiptEvent, ReceiptState | null>>>> = {
  none: { publish: 'storing', stored: null, failed: null, release: 'none' },
  storing: { publish: 'storing', stored: 'open', failed: 'none', release: null },
  open: { publish: 'open', stored: null, failed: null, release: 'releasing' },
  releasing: { publish: 'releasing', stored: 'none', failed: null, release: 'releasing' },
};
