/**
 * Administrators of the HTTP API: users with that right, by name and password, and the token of the configuration. Main
 * thread; used by the HTTP port of the node.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AdminAuthenticator, AdminCheck } from '../../admin/api/authentication.ts';
import { isLoopback } from '../../auth/addresses.ts';
import type { Authenticator } from '../../auth/authenticator.ts';
import { defaultTenant } from '../../core/ports/access.ts';

const unknown: AdminCheck = {
  type: 'refused',
  reason: 'unknown',
  message: 'Cannot answer: the name, the password or the token is wrong',
};
const notAdministrator: AdminCheck = {
  type: 'refused',
  reason: 'not-administrator',
  message: 'Cannot answer: the user is no administrator',
};

/** `token` null: there is none. Failures are counted with those of clients. */
export function createAdminAuthenticator(authenticator: Authenticator, token: string | null): AdminAuthenticator {
  return {
    byPassword: (user, password, address) => byPassword(authenticator, user, password, address),
    byToken: async (given) => (token !== null && isSame(given, token) ? { type: 'accepted', actor: 'token' } : unknown),
  };
}

function byPassword(
  authenticator: Authenticator,
  user: string,
  password: Uint8Array,
  address: string,
): Promise<AdminCheck> {
  return new Promise((resolve) => {
    const request = { tenant: defaultTenant, clientId: '', address, isLocal: isLoopback(address), certificate: null };
    authenticator.begin({ ...request, user, password, purpose: 'administration' }, (step) => {
      if (step.type === 'accepted') {
        // An anonymous client is somebody else than who it says.
        const isProven = step.account !== null && step.identity.user === user;
        if (!isProven) resolve(unknown);
        else resolve(step.account.isAdministrator ? { type: 'accepted', actor: user } : notAdministrator);
      } else if (step.type === 'refused') {
        resolve(refusalOf(step.reason));
      } else {
        resolve(unknown);
      }
    });
  });
}

function refusalOf(reason: string): AdminCheck {
  if (reason === 'bad-credentials') return unknown;
  if (reason === 'not-authorized') return notAdministrator;
  return {
    type: 'refused',
    reason: 'later',
    message: 'Cannot answer now: logins cannot be checked, or failed too often',
  };
}

/** Equal lengths first: hashes of the two. */
function isSame(one: string, other: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(one), hash(other));
}
