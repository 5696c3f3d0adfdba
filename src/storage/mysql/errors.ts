/**
 * What an error of the `mysql2` package or of the server means for the front: whether anything may have happened, and whether another
 * try can help. Pure. Thread: the one that holds the store; used by the files beside it.
 */

import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineFailedError, EngineLostError } from '../../core/streams/store-engine.ts';
import { toError } from '../../std/errors.ts';

interface ServerError extends Error {
  /** Of the server; absent when the connection is the problem. */
  readonly errno?: number;
  readonly sqlState?: string;
}

/** Conditions that no further try can change: the operator has to. */
const setupProblems = new Map([
  [1044, 'the user has no right to the database'],
  [1045, 'user or password is wrong'],
  [1049, 'there is no such database'],
  [1130, 'the server refuses this host'],
  [1142, 'the user lacks a right'],
  [1143, 'the user lacks a right'],
  [1227, 'the user lacks a right'],
  [1370, 'the user lacks a right'],
  [1698, 'user or password is wrong'],
]);

/** They are told before anything is stored, and end the statement without a trace. */
const rolledBack = new Set([
  1021, 1037, 1038, 1040, 1041, 1044, 1045, 1049, 1050, 1054, 1062, 1064, 1114, 1118, 1142, 1143, 1146, 1153, 1180,
  1203, 1205, 1206, 1213, 1290, 1366, 1406, 1461, 1615, 1792, 1836,
]);

const diskFull = new Set([1021, 1114]);
/** An index or a page is not what it should be. */
const corrupted = new Set([1034, 1194, 1712, 1877]);

/** Says the same thing to the operator in every place. */
export function describe(thrown: unknown): string {
  const error = toError(thrown) as ServerError;
  if (thrown instanceof AggregateError && error.message === '') return `MySQL: ${thrown.errors.map(String).join(', ')}`;
  return isFromServer(error) ? `MySQL: ${error.message} (${error.errno})` : `MySQL: ${error.message}`;
}

/** Of a statement that was sent. `isCommit`: it ends a transaction, so that any error leaves its outcome open. */
export function statementError(thrown: unknown, isCommit = false): Error {
  if (isKnown(thrown)) return thrown;
  const error = toError(thrown) as ServerError;
  const { errno = 0 } = error;
  if (isFromServer(error) && !isCommit) {
    const text = describe(thrown);
    if (diskFull.has(errno)) return new StorageError('STORAGE_DISK_FULL', text, { cause: thrown });
    if (corrupted.has(errno)) return new StorageError('STORAGE_CORRUPTED', text, { cause: thrown });
    if (rolledBack.has(errno)) return new StorageError('STORAGE_UNAVAILABLE', text, { cause: thrown });
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
  const problem = setupProblems.get((toError(thrown) as ServerError).errno ?? 0);
  if (problem === undefined || !isFirst) {
    return new StorageError('STORAGE_UNAVAILABLE', describe(thrown), { cause: thrown });
  }
  return new EngineFailedError(`${problem}: ${describe(thrown)}`, { cause: thrown });
}

/** Of making or looking at the tables. */
export function setupError(thrown: unknown): Error {
  if (isKnown(thrown)) return thrown;
  const { errno = 0, sqlState = '' } = toError(thrown) as ServerError;
  const problem = setupProblems.get(errno);
  if (problem !== undefined) return new EngineFailedError(`${problem}: ${describe(thrown)}`, { cause: thrown });
  // Unknown table or column: the tables are not ours.
  if (sqlState.startsWith('42')) {
    return new EngineFailedError(`there are other tables of these names: ${describe(thrown)}`, { cause: thrown });
  }
  return new EngineLostError(describe(thrown), { cause: thrown });
}

export function isDuplicate(thrown: unknown): boolean {
  return (toError(thrown) as ServerError).errno === 1062;
}

function isFromServer({ errno, sqlState }: ServerError): boolean {
  return sqlState !== undefined && errno !== undefined && errno > 0;
}

function isKnown(thrown: unknown): thrown is Error {
  return thrown instanceof StorageError || thrown instanceof EngineLostError || thrown instanceof EngineFailedError;
}
