/**
 * Messages about access between the main thread and a connection worker: logins, and what is in force. Plain data.
 *
 * The worker gets the whole of the rules and blocks when it begins to serve, before its first connection, and every change
 * afterwards.
 */
import type { AccessBlock, AccessRule, Identity, LoginRequest, Refusal } from '../core/ports/access.ts';

/** Connection worker to main thread. */
export type AccessToMain =
  | { readonly type: 'login'; readonly id: number; readonly request: LoginRequest }
  | { readonly type: 'login-answer'; readonly id: number; readonly data: Uint8Array }
  | { readonly type: 'login-cancel'; readonly id: number }
  /** A client came in; sent only when somebody counts it. */
  | { readonly type: 'client-connected'; readonly identity: Identity };

/** Main thread to connection worker. */
export type AccessToWorker =
  | { readonly type: 'login-step'; readonly id: number; readonly step: PlainLoginStep }
  | { readonly type: 'access-change'; readonly change: PlainAccessChange };

export type PlainLoginStep =
  | { readonly type: 'continue'; readonly data: Uint8Array }
  | { readonly type: 'accepted'; readonly identity: Identity; readonly data: Uint8Array | null }
  | ({ readonly type: 'refused' } & Refusal);

export interface PlainAccessChange {
  /** All of them, when they changed; `problem`: why nothing is allowed, or null. */
  readonly rules: { readonly list: readonly AccessRule[]; readonly problem: string | null } | null;
  readonly blocksSet: readonly AccessBlock[];
  /** Keys as `blockKey` makes them. */
  readonly blocksRemoved: readonly string[];
  /** Methods with an exchange that are offered; null: as before. */
  readonly methods: readonly string[] | null;
  readonly accounts: readonly AccountChange[];
}

/** What permissions depend on. */
export interface AccountChange {
  readonly tenant: string;
  readonly user: string;
  /** Null: the account is gone. */
  readonly state: {
    readonly isSuperuser: boolean;
    readonly isEnabled: boolean;
    readonly groups: readonly string[];
  } | null;
}

/** What a worker has to know of the configuration. */
export interface WorkerAccessSettings {
  readonly anonymous: 'loopback' | 'always' | 'never';
  /** Names of the mechanisms in use. */
  readonly mechanisms: readonly string[];
  readonly isDefaultAllow: boolean;
  readonly certificateNeedsAccount: boolean;
  readonly deniedPublish: 'drop' | 'disconnect';
  readonly revokedSubscription: 'tell' | 'remove';
  /** The main thread counts how often clients connect. */
  readonly countsConnects: boolean;
}
