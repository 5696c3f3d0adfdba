/** How a command or query is refused: a value, never an exception. Pure; any thread. */
import type { RefusalCode } from '../../core/ports/placement.ts';

export interface Refusal {
  readonly type: 'refused';
  readonly code: RefusalCode;
  readonly message: string;
}

export function refuse(code: RefusalCode, message: string): Refusal {
  return { type: 'refused', code, message };
}
