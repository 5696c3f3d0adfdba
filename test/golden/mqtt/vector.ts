/**
 * The form of the golden vectors: named packets, valid and malformed, as bytes and as what they mean. Codec, session and
 * end-to-end tests share them. In `hex`, text in double quotes stands for its own ASCII bytes.
 */

export type Level = 3 | 4 | 5;

export interface Vector {
  readonly name: string;
  readonly level: Level;
  readonly hex: string;
  /** The clause that decides, e.g. `MQTT-3.1.2-3`. */
  readonly clause?: string;
}

/** A packet that a client may send, and what it says. */
export interface ValidVector<T> extends Vector {
  readonly packet: T;
}

/** A packet that no client may send. */
export interface MalformedVector extends Vector {
  /** The MQTT 5 reason code of the fault. */
  readonly reasonCode: number;
  /** CONNECT below level 5: return code of the CONNACK; absent when the connection ends without one. */
  readonly returnCode?: number;
  /** CONNECT: level in which the broker answers; absent when it does not answer. */
  readonly answerLevel?: Level;
  /** Part of the sentence that says what is wrong, for the rare packets. */
  readonly reason?: string;
}

/** A packet of the server: the fields that it is made from, and its bytes. */
export interface GeneratedVector<T> extends Vector {
  readonly fields: T;
}

/** The bytes of `hex`. */
export function bytes(hex: string): Buffer {
  const parts = hex.match(/"[^"]*"|[0-9a-f]+/g) ?? [];
  return Buffer.concat(parts.map((part) => (part.startsWith('"') ? Buffer.from(part.slice(1, -1)) : Buffer.from(part, 'hex'))));
}
