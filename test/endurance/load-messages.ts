/** What the endurance program and the processes of its load say to each other. Pure. */

export interface LoadOptions {
  readonly port: number;
  /** Names and addresses of the process' connections begin here. */
  readonly first: number;
  readonly connections: number;
  /** Made a second at the start, and remade a second later on. */
  readonly rampPerS: number;
  readonly churnPerS: number;
  readonly keepAliveS: number;
  /** Messages of QoS 1, each to one connection, whose arrival is checked. */
  readonly publishesPerS: number;
  readonly addresses: readonly string[];
}

export interface LoadReport {
  readonly open: number;
  readonly connects: number;
  readonly reconnects: number;
  readonly published: number;
  readonly acknowledged: number;
  readonly delivered: number;
  readonly verified: number;
  readonly pings: number;
  readonly slowestConnectMs: number;
  readonly problems: readonly string[];
}

export type LoadMessage = { readonly start: LoadOptions } | { readonly churn: boolean } | { readonly stop: true };
