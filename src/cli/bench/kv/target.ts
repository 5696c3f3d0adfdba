/**
 * What the key-value load drives: one small port with an implementation per kind of server, so that both are loaded by the
 * same code. Callbacks, because a promise per call is a cost that would be charged to the server. Thread of the harness.
 */

/** Called once per operation; `error` is a short reason, the same text for the same cause. */
export type KvDone = (error: string | null, isFound: boolean) => void;

export interface KvTarget {
  /** Resolves when every endpoint answers. */
  connect(deadlineMs: number): Promise<void>;
  /** `client` spreads the load over endpoints and channels; a client always has the same ones. */
  set(client: number, key: Uint8Array, value: Uint8Array, done: KvDone): void;
  get(client: number, key: Uint8Array, isSerializable: boolean, done: KvDone): void;
  close(): void;
}
