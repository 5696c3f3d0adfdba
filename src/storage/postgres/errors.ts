/**
 * What an error of the `pg` package or of the server means for the front: whether anything may have happened, and whether another try
 * can help. Pure. Thread: the one that holds the store; used by the files beside it.
 */

import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineFailedError, EngineLostError } from '../../core/streams/store-engine.ts';
import { toError } from '../../std/errors.ts';

interface ServerError extends Error {
  /** Five characters from the server, or an error code of Node. */
  readonly code?: string;
  readonly severity?: string;
}

/** Conditions that no further try can change: the operator has to. */
const setupProblems = new Map([
  ['28000', 'the server refuses the user'],
  ['28P01', 'user or password is wrong'],
  ['3D000', 'there is no such database'],
  ['42501', 'the user lacks a right'],
]);

const refusals = new Map([
  ['53100', 'STORAGE_DISK_FULL'],
  ['XX001', 'STORAGE_CORRUPTED'],
  ['XX002', 'STORAGE_CORRUPTED'],
] as const);

/** Says the same thing to the operator in every place. */
export function describe(thrown: unknown): string {
  const { message, code } = toError(thrown) as ServerError;
  // Of several addresses each has its own error, and no message is left for all.
  if (thrown instanceof AggregateError && message === '') return `PostgreSQL: ${thrown.errors.map(String).join(', ')}`;
  return isSqlState(code) ? `PostgreSQL: ${message} (${code})` : `PostgreSQL: ${message}`;
}

/** Of a statement that was sent. */
export function statementError(thrown: unknown): Error {
  if (isKnown(thrown)) return thrown;
  const { code = '', severity } = toError(thrown) as ServerError;
  if (severity === 'ERROR') {
    const refusal = refusals.get(code as '53100') ?? (isRolledBack(code) ? 'STORAGE_UNAVAILABLE' : undefined);
    if (refusal !== undefined) return new StorageError(refusal, describe(thrown), { cause: thrown });
  }
  return new EngineLostError(describe(thrown), { cause: thrown });
}

/**
 * Of a new connection: nothing was asked for yet. `isFirst`: none was there since the broker started. Later the operator may be at work,
 * and whatever is wrong can be right the next time.
 */
export function connectError(thrown: unknown, isFirst: boolean): Error {
  if (isKnown(thrown)) {
    if (isFirst || !(thrown instanceof EngineFailedError)) return thrown;
    return new StorageError('STORAGE_UNAVAILABLE', thrown.message, { cause: thrown });
  }
  const problem = setupProblems.get((toError(thrown) as ServerError).code ?? '');
  if (problem === undefined || !isFirst) {
    return new StorageError('STORAGE_UNAVAILABLE', describe(thrown), { cause: thrown });
  }
  return new EngineFailedError(`${problem}: ${describe(thrown)}`, { cause: thrown });
}

/** Of making or looking at the tables. */
export function setupError(thrown: unknown): Error {
  if (isKnown(thrown)) return thrown;
  const { code = '' } = toError(thrown) as ServerError;
  const problem = setupProblems.get(code);
  if (problem !== undefined) return new EngineFailedError(`${problem}: ${describe(thrown)}`, { cause: thrown });
  // Undefined table, column, function: the tables are not ours.
  if (code.startsWith('42')) {
    return new EngineFailedError(`the schema has other tables: ${describe(thrown)}`, { cause: thrown });
  }
  return new EngineLostError(describe(thrown), { cause: thrown });
}

/**
 * Classes of errors that come from the statement itself and end it without a trace: data, constraints, conflicts with other
 * transactions, rights and names, resources, limits, locks. A cancelled statement is none of them: it may have been told too late.
 */
function isRolledBack(code: string): boolean {
  return /^(?:0A|22|23|25|40|42|53|54|55)/.test(code);
}

function isKnown(thrown: unknown): thrown is Error {
  return thrown instanceof StorageError || thrown instanceof EngineLostError || thrown instanceof EngineFailedError;
}

function isSqlState(code: string | undefined): boolean {
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code);
}
