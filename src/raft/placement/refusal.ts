/** How a command or query is refused: a value, never an exception. Pure; any thread. */
import type { RefusalCode } from '../../core/ports/placement.ts';
import { MalformedError } from './errors.ts';

export interface Refusal {
  readonly type: 'refused';
  readonly code: RefusalCode;
  readonly message: string;
}

/** Stored with what is remembered of commands: they only grow. 0 is for none. */
export const refusalNumbers = {
  EMPTY_KEY: 1,
  RESERVED_KEY: 2,
  KEY_TOO_LARGE: 3,
  VALUE_TOO_LARGE: 4,
  TOO_MANY_OPERATIONS: 5,
  DUPLICATE_KEY: 6,
  INVALID_ARGUMENT: 7,
  LEASE_NOT_FOUND: 8,
  LEASE_EXISTS: 9,
  COMPACTED: 10,
  FUTURE_REVISION: 11,
  NODE_NOT_FOUND: 12,
  NODE_FENCED: 13,
  TOPIC_EXISTS: 14,
  TOPIC_NOT_FOUND: 15,
  NOT_ENOUGH_NODES: 16,
  EPOCH_MISMATCH: 17,
} as const satisfies Record<RefusalCode, number>;

const codeOfNumber = new Map<number, RefusalCode>(
  (Object.keys(refusalNumbers) as RefusalCode[]).map((code) => [refusalNumbers[code], code]),
);

export function refuse(code: RefusalCode, message: string): Refusal {
  return { type: 'refused', code, message };
}

/** Undoes `refusalNumbers`; null for 0. Throws `MalformedError`. */
export function refusalCodeOf(number: number): RefusalCode | null {
  if (number === 0) return null;
  const code = codeOfNumber.get(number);
  if (code === undefined) throw new MalformedError(`A refusal has the unknown number ${number}`);
  return code;
}
