/** Who may come in without a name. Pure; connection workers and the main thread. */
import type { LoginRequest } from '../core/ports/access.ts';
import type { MechanismSettings } from './mechanism.ts';

export function mayBeAnonymous(setting: MechanismSettings['anonymous'], isLocal: boolean): boolean {
  return setting === 'always' || (setting === 'loopback' && isLocal);
}

/** Whether the client gave nothing at all by which it could be known. */
export function isNameless({ user, password, method, certificate }: LoginRequest): boolean {
  return user === undefined && password === undefined && method === undefined && certificate === null;
}
