/**
 * What a mechanism of authentication is: one folder of `src/auth`, one line in `registry.ts`. Lives on the main thread;
 * `authenticator.ts` asks the mechanisms in their configured order, and the first one that does not pass decides.
 */
import type { Account, LoginRequest, RefusalReason } from '../core/ports/access.ts';

/** The accounts of the cluster. Rejects when they cannot be read now. */
export interface AccountSource {
  find(tenant: string, user: string): Promise<Account | null>;
  /** Whether the tenant has any account. Before the first one is made, nobody can have a name. */
  hasAny(tenant: string): Promise<boolean>;
}

/** Slow work, done elsewhere. Rejects with `PasswordQueueFull` when too much waits. */
export interface PasswordWork {
  /** Whether `password` belongs to one of `verifiers`. Takes as long without any as with one. */
  verify(password: Uint8Array, verifiers: readonly string[]): Promise<boolean>;
}

export class PasswordQueueFull extends Error {
  override readonly name = 'PasswordQueueFull';
}

export interface MechanismTools {
  readonly accounts: AccountSource;
  readonly passwords: PasswordWork;
  readonly settings: MechanismSettings;
}

export interface MechanismSettings {
  readonly anonymous: 'loopback' | 'always' | 'never';
  /** Which part of a certificate is the name of the user. */
  readonly certificateName: 'common-name' | 'subject' | 'dns-name' | 'email' | 'fingerprint';
  /** A certificate alone is not enough: there must be an account of that name. */
  readonly certificateNeedsAccount: boolean;
}

export type MechanismStep =
  /** Not for this mechanism: the next one is asked. In the first step only. */
  | { readonly type: 'pass' }
  | { readonly type: 'continue'; readonly data: Uint8Array }
  /** `account` null: there is none of this name. */
  | {
      readonly type: 'accepted';
      readonly user: string;
      readonly account: Account | null;
      readonly data: Uint8Array | null;
    }
  | { readonly type: 'refused'; readonly reason: RefusalReason; readonly message: string };

/** One login under way; steps are taken one after the other. */
export interface MechanismRun {
  /** `data`: what the client sent, null in a first step without any. Rejects when accounts cannot be read. */
  step(data: Uint8Array | null): Promise<MechanismStep>;
}

export interface Mechanism {
  readonly name: string;
  /** Methods with an exchange of messages that it understands, as clients name them. */
  readonly methods: readonly string[];
  /** Null: not for this mechanism. */
  begin(request: LoginRequest): MechanismRun | null;
}

/** The form of each entry of the registry. */
export interface MechanismFactory {
  readonly name: string;
  create(tools: MechanismTools): Mechanism;
}

/** A run that is over after its first step. */
export function atOnce(work: () => Promise<MechanismStep>): MechanismRun {
  return { step: work };
}

export function refused(reason: RefusalReason, message: string): MechanismStep {
  return { type: 'refused', reason, message };
}
