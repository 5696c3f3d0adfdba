/**
 * The port of access control: who a client is, and what it may do. Every protocol asks it, in the same words.
 *
 * The order of all decisions, written once: (1) block list, (2) authentication by the mechanisms in their configured order,
 * (3) what the account itself says: switched off, other client ids or addresses, (4) superusers pass everything that
 * follows, (5) rules, of which the first that matches decides, (6) the configured default.
 *
 * Threads: a protocol uses `AccessControl` on its connection worker. Accounts and passwords are looked at on the main
 * thread and in the task pool; rules are evaluated where they are needed, without a message.
 */
import type { Connection, PeerCertificate } from './connection.ts';

export const accessActions = ['connect', 'publish', 'subscribe'] as const;
export type AccessAction = (typeof accessActions)[number];

/** Tenant of clients of protocols that name none. */
export const defaultTenant = 'default';

/** Who a client turned out to be. Plain data: it may cross threads and be kept with a session. */
export interface Identity {
  readonly tenant: string;
  /** '' for an anonymous client, whatever name it gave. */
  readonly user: string;
  readonly clientId: string;
  /** IP address; '' over a Unix socket. */
  readonly address: string;
  readonly isSuperuser: boolean;
  readonly groups: readonly string[];
  /** Name of the mechanism that accepted it. */
  readonly mechanism: string;
  /** Common name of a verified certificate, or ''. */
  readonly certificateName: string;
  /** The client is on the machine of the broker, see `LoginRequest.isLocal`. Absent: it is not. */
  readonly isLocal?: boolean;
  /** It is in its tenant because it has an account there, and not without, see `LoginRequest.needsAccount`. Absent: no. */
  readonly needsAccount?: boolean;
}

/** Why a client is not let in. Protocols translate it into their own codes. */
export type RefusalReason =
  /** The name, the password or the proof is wrong, or the account is switched off: never told apart to the client. */
  | 'bad-credentials'
  /** The identity is proven, or needs no proof, and may not come in. */
  | 'not-authorized'
  | 'blocked'
  /** The named method is none of those that are offered. */
  | 'bad-method'
  /** What the client sent breaks the rules of the method. */
  | 'protocol-error'
  /** Too many failures from this address; later again. */
  | 'too-many-attempts'
  /** Too many logins wait; later again. */
  | 'busy'
  /** The accounts cannot be read now; later again. */
  | 'unavailable';

export interface Refusal {
  readonly reason: RefusalReason;
  /** For the log. Never holds a secret. */
  readonly message: string;
}

export interface LoginRequest {
  readonly tenant: string;
  readonly clientId: string;
  readonly address: string;
  /** The client is on this machine: loopback, or a Unix socket. */
  readonly isLocal: boolean;
  /** What the client showed in the TLS handshake; null for nothing. */
  readonly certificate: PeerCertificate | null;
  /** Undefined: the client gave none. An empty name is a name. */
  readonly user?: string | undefined;
  readonly password?: Uint8Array | undefined;
  /** A method with an exchange of messages (SASL), and the client's first message. */
  readonly method?: string | undefined;
  readonly data?: Uint8Array | undefined;
  /** Nobody is let in without an account of the tenant, because the client itself has chosen it. Absent: as the settings say. */
  readonly needsAccount?: boolean;
  /** An administrator uses no client id; what an account says of those does not hold. Absent: a client. */
  readonly purpose?: 'client' | 'administration';
}

/** What a protocol knows of a client that wants to come in; where it comes from is read off the connection. */
export type ClientLogin = Omit<LoginRequest, 'address' | 'isLocal' | 'certificate' | 'purpose'> & {
  readonly connection: Pick<Connection, 'remoteAddress' | 'isProxied' | 'tls'>;
};

/** What the server says next in an exchange. `data` is for the client. */
export type LoginStep =
  | { readonly type: 'continue'; readonly data: Uint8Array }
  | { readonly type: 'accepted'; readonly permissions: Permissions; readonly data: Uint8Array | null }
  | ({ readonly type: 'refused' } & Refusal);

/** A login under way. */
export interface Login {
  /** The client's next message, after a step of type `continue`; anything else is refused. */
  answer(data: Uint8Array): void;
  /** The client went away: no step follows. */
  cancel(): void;
}

/**
 * What one identity may do, by the rules of now: each question is answered by the newest ones. Bound to the worker
 * that made it. Cheap when asked the same again.
 */
export interface Permissions {
  readonly identity: Identity;
  /** `topic` is valid and has no wildcard. */
  mayPublish(topic: string, qos: number, isRetained: boolean): boolean;
  /**
   * Whether everything that `filter` can match may be read. A filter is without the parts that a protocol puts in front
   * of it, such as the name of a shared group.
   */
  maySubscribe(filter: string, qos: number): boolean;
}

/** What happens with a client whose permissions changed while it was there. */
export type Verdict =
  | { readonly type: 'stays' }
  /** It is somebody else now, for the same connection: ask these permissions from here on. */
  | { readonly type: 'changed'; readonly permissions: Permissions }
  /** Its connection ends. */
  | ({ readonly type: 'ends' } & Refusal);

/** A change of rules, accounts or block list. Valid during the call of the handler. */
export interface AccessChange {
  /** Rules changed: subscriptions are to be looked at again. It may be done in slices, after the handler returned. */
  readonly areRulesNew: boolean;
  /** Accounts or blocks changed: every identity is to be judged before the handler returns. */
  readonly areIdentitiesTouched: boolean;
  judge(permissions: Permissions): Verdict;
}

export type AuditKind = 'login-refused' | 'publish-denied' | 'subscribe-denied' | 'subscription-revoked';

export interface AuditEvent {
  readonly kind: AuditKind;
  readonly identity: Pick<Identity, 'tenant' | 'user' | 'clientId' | 'address'>;
  /** Topic or filter, or why a login was refused. */
  readonly subject: string;
}

export interface AccessControl {
  /** What a denied publication means where the protocol has no answer for it, such as QoS 0. */
  readonly deniedPublish: 'drop' | 'disconnect';
  /** `tell`: a client that lost a subscription is told as well as its protocol can, even if that ends its connection. */
  readonly revokedSubscription: 'tell' | 'remove';
  /** Names of the methods that `LoginRequest.method` may have. */
  readonly methods: readonly string[];
  /**
   * Begins a login. `step` is called for each thing that the server says, the first time maybe before `login` returns, and
   * never after `cancel` or a step that is not `continue`. A plain anonymous client is answered at once.
   */
  login(request: ClientLogin, step: (step: LoginStep) => void): Login;
  /** The permissions of an identity that was accepted before, for a session that comes from elsewhere. */
  permissionsOf(identity: Identity): Permissions;
  /** Registers a handler that is called for each change; one per protocol. */
  onChange(handler: (change: AccessChange) => void): void;
  /** Counts and reports what was denied. Cheap enough to be called for every denied message. */
  audit(event: AuditEvent): void;
}

// --- rules and blocks as plain data: made from placement data and from the rule file, sent to all workers ---

export interface AccessRule {
  readonly tenant: string;
  readonly rule: string;
  readonly permission: 'allow' | 'deny';
  /** Empty: all. */
  readonly actions: readonly AccessAction[];
  /** Names; '' is the anonymous user. Empty: everybody. Each of the following narrows the rule further. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
  readonly clients: readonly string[];
  /** Addresses and ranges (CIDR). */
  readonly addresses: readonly string[];
  /** Filters, with `${clientid}`, `${username}` and `${certcn}`. Empty: all topics. */
  readonly topics: readonly string[];
  /** The filters are compared as text: for a rule about a subscription to exactly `#`. */
  readonly isExact: boolean;
  /** Empty: any. */
  readonly qos: readonly number[];
  /** For publications: only retained ones, only others, or any. */
  readonly retain: 'any' | 'retained' | 'plain';
}

export interface AccessBlock {
  readonly tenant: string;
  readonly kind: 'client' | 'user' | 'address';
  /** Exact, or for addresses a range. */
  readonly value: string;
  readonly reason: string;
  /** Milliseconds since 1970; 0 for ever. */
  readonly untilMs: number;
}

/** An account as mechanisms see it. Verifiers stay on the main thread and the task pool. */
export interface Account {
  readonly tenant: string;
  readonly user: string;
  /** Each tells its own kind: `$scrypt$…`, `$argon2id$…`, `$scram-sha-256$…`. */
  readonly verifiers: readonly string[];
  readonly isSuperuser: boolean;
  readonly isAdministrator: boolean;
  readonly isEnabled: boolean;
  readonly groups: readonly string[];
  /** Client ids that it may use. Empty: any. */
  readonly clients: readonly string[];
  /** Addresses and ranges that it may come from. Empty: any. */
  readonly addresses: readonly string[];
}
