/**
 * The flows of QoS 1 and 2 (section 4.3) as total tables: for every state of a packet identifier and every packet that
 * can meet it, the next state and the answer. The compiler refuses a table with a hole.
 */

/** Of an identifier that the broker gave to a message on its way to the client. */
export type OutgoingState = 'free' | 'awaits-puback' | 'awaits-pubrec' | 'awaits-pubcomp';
/** `reconnect`: the connection is lost and the session goes on with a new one. */
export type OutgoingEvent = 'puback' | 'puback-error' | 'pubrec' | 'pubrec-error' | 'pubcomp' | 'reconnect';
export type OutgoingAnswer = 'nothing' | 'pubrel' | 'pubrel-not-found' | 'publish-dup';

export interface OutgoingTransition {
  readonly next: OutgoingState;
  readonly answer: OutgoingAnswer;
}

const to = (next: OutgoingState, answer: OutgoingAnswer = 'nothing'): OutgoingTransition => ({ next, answer });

/** An acknowledgement that does not fit the state changes nothing: it answers something long done, or is a mistake. */
export const outgoingTransitions: Record<OutgoingState, Record<OutgoingEvent, OutgoingTransition>> = {
  free: {
    puback: to('free'),
    'puback-error': to('free'),
    // The client waits for PUBREL and would wait for ever (3.6.2.1, reason code 0x92).
    pubrec: to('free', 'pubrel-not-found'),
    'pubrec-error': to('free'),
    pubcomp: to('free'),
    reconnect: to('free'),
  },
  'awaits-puback': {
    puback: to('free'),
    'puback-error': to('free'),
    pubrec: to('awaits-puback', 'pubrel-not-found'),
    'pubrec-error': to('awaits-puback'),
    pubcomp: to('awaits-puback'),
    reconnect: to('awaits-puback', 'publish-dup'), // [MQTT-4.4.0-1]
  },
  'awaits-pubrec': {
    puback: to('awaits-pubrec'),
    'puback-error': to('awaits-pubrec'),
    pubrec: to('awaits-pubcomp', 'pubrel'), // [MQTT-4.3.3-4]
    'pubrec-error': to('free'), // 4.3.3: the exchange ends
    pubcomp: to('awaits-pubrec'),
    reconnect: to('awaits-pubrec', 'publish-dup'),
  },
  'awaits-pubcomp': {
    puback: to('awaits-pubcomp'),
    'puback-error': to('awaits-pubcomp'),
    pubrec: to('awaits-pubcomp', 'pubrel'),
    'pubrec-error': to('awaits-pubcomp'),
    pubcomp: to('free'),
    reconnect: to('awaits-pubcomp', 'pubrel'), // [MQTT-4.4.0-1]
  },
};

/** Of an identifier that the client gave to a QoS 2 message on its way to the broker. */
export type IncomingState = 'unknown' | 'received';
export type IncomingEvent = 'publish' | 'publish-dup' | 'pubrel' | 'reconnect';
export type IncomingAnswer = 'nothing' | 'pubrec' | 'pubcomp' | 'pubcomp-not-found';

export interface IncomingTransition {
  readonly next: IncomingState;
  readonly answer: IncomingAnswer;
  /** The message goes to subscribers. */
  readonly delivers: boolean;
}

const on = (next: IncomingState, answer: IncomingAnswer, delivers = false): IncomingTransition => ({
  next,
  answer,
  delivers,
});

export const incomingTransitions: Record<IncomingState, Record<IncomingEvent, IncomingTransition>> = {
  unknown: {
    publish: on('received', 'pubrec', true),
    'publish-dup': on('received', 'pubrec', true),
    pubrel: on('unknown', 'pubcomp-not-found'), // [MQTT-4.3.3-11]
    reconnect: on('unknown', 'nothing'),
  },
  received: {
    publish: on('received', 'pubrec'), // [MQTT-4.3.3-10]
    'publish-dup': on('received', 'pubrec'),
    pubrel: on('unknown', 'pubcomp'),
    reconnect: on('received', 'nothing'),
  },
};
