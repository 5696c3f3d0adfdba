/**
 * The port through which administrators look at users, rules and blocks and change them. Thread: main; implemented there,
 * used by the administration API.
 *
 * All changes go to the placement centre and are in force on every node shortly after the call. Passwords go in and never
 * come out. Calls reject with `AccessError`, and with `PlacementError` when the centre cannot be asked.
 */
import type { AccessAction, AccessBlock, AccessRule } from './access.ts';

/** Code → what it means and what to do about it. */
export const accessErrorCodes = {
  ACCESS_BLOCK_UNKNOWN: 'There is no such block. `ringmq ctl block list` shows them.',
  ACCESS_CHANGED_MEANWHILE: 'Somebody else changed the same user or rule at the same moment. Look at it and try again.',
  ACCESS_INVALID: 'A name, password, address or topic filter cannot be used, for the reason in the message.',
  ACCESS_LIMIT: 'There are as many rules or blocks as a cluster may have. Remove some.',
  ACCESS_RULE_EXISTS: 'There is a rule of this name. Remove it first, or choose another name.',
  ACCESS_RULE_UNKNOWN: 'There is no such rule. `ringmq ctl acl list` shows them.',
  ACCESS_USER_EXISTS: 'There is a user of this name.',
  ACCESS_USER_UNKNOWN: 'There is no such user. `ringmq ctl user list` shows them.',
  ACCESS_WORK_REFUSED: 'Too many passwords wait to be hashed. Try again.',
} as const;

export type AccessErrorCode = keyof typeof accessErrorCodes;

export class AccessError extends Error {
  override readonly name = 'AccessError';
  readonly code: AccessErrorCode;

  constructor(code: AccessErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** A user without its secrets. */
export interface UserView {
  readonly tenant: string;
  readonly user: string;
  /** Kinds of the verifiers: `scrypt`, `argon2id`, `scram-sha-256`, `scram-sha-512`. */
  readonly credentials: readonly string[];
  readonly isSuperuser: boolean;
  readonly isAdministrator: boolean;
  readonly isEnabled: boolean;
  readonly groups: readonly string[];
  readonly clients: readonly string[];
  readonly addresses: readonly string[];
  readonly description: string;
  readonly createdAtMs: number;
  readonly changedAtMs: number;
}

/** What can be said of a user; what is absent stays, or is the default of a new one. */
export type UserFields = Partial<
  Pick<UserView, 'isSuperuser' | 'isAdministrator' | 'isEnabled' | 'groups' | 'clients' | 'addresses' | 'description'>
>;

export interface NewPassword {
  readonly password: Uint8Array;
  /** How it is kept. */
  readonly hash: 'scrypt' | 'argon2id';
  /** Keys for SCRAM beside it. */
  readonly scram: readonly ('scram-sha-256' | 'scram-sha-512')[];
}

export interface UserPage {
  readonly users: readonly UserView[];
  readonly hasMore: boolean;
}

export interface RuleView extends AccessRule {
  /** 'file': from the rule file of the node that answers, asked before all others. */
  readonly source: 'file' | 'cluster';
  readonly order: number;
  readonly description: string;
}

export interface BlockView extends AccessBlock {
  readonly createdAtMs: number;
}

/** A question to the rules, as if this client asked. */
export interface AccessQuestion {
  readonly tenant: string;
  readonly user: string;
  readonly clientId: string;
  readonly address: string;
  readonly certificateName: string;
  readonly action: AccessAction;
  /** Topic or filter; '' for `connect`. */
  readonly topic: string;
  readonly qos: number;
  readonly isRetained: boolean;
}

export interface AccessAnswer {
  readonly isAllowed: boolean;
  readonly why: string;
  /** Name of the rule that decided, or null. */
  readonly rule: string | null;
}

export interface AccessStatus {
  readonly ruleCount: number;
  readonly blockCount: number;
  readonly unmatched: 'allow' | 'deny';
  readonly rulesFile: string | null;
  /** Why nothing is allowed now, or null. */
  readonly problem: string | null;
  /** Why the newest version of the rule file is not in force, or null. */
  readonly fileProblem: string | null;
}

export interface AccessAdministration {
  /** In the order of their names, those behind `after`. */
  users(tenant: string, after: string, limit: number): Promise<UserPage>;
  user(tenant: string, user: string): Promise<UserView>;
  /** `password` null: a user that proves itself otherwise, by a certificate. */
  createUser(tenant: string, user: string, fields: UserFields, password: NewPassword | null): Promise<UserView>;
  changeUser(tenant: string, user: string, fields: UserFields): Promise<UserView>;
  setPassword(tenant: string, user: string, password: NewPassword): Promise<UserView>;
  deleteUser(tenant: string, user: string): Promise<void>;
  /** In the order in which they are asked, those of the file first. */
  rules(tenant: string): Promise<readonly RuleView[]>;
  addRule(rule: AccessRule, order: number, description: string): Promise<void>;
  deleteRule(tenant: string, rule: string): Promise<void>;
  blocks(tenant: string): Promise<readonly BlockView[]>;
  /** Replaces a block of the same thing. */
  addBlock(block: AccessBlock): Promise<void>;
  deleteBlock(tenant: string, kind: AccessBlock['kind'], value: string): Promise<void>;
  /** By the rules in force on this node. */
  check(question: AccessQuestion): Promise<AccessAnswer>;
  status(): AccessStatus;
}
