/** What the probes ask the broker. Implemented on the main thread by whoever supervises the workers. */

export interface Health {
  /** Whether new clients are welcome: not before every worker serves, and not any more once draining has begun. */
  ready(): Readiness;
  /** Whether the process does its work; false asks whoever runs it for a restart. */
  alive(): Liveness;
}

export interface Readiness {
  readonly ready: boolean;
  /** Why not, for people: 'starting', 'draining', … */
  readonly reason?: string;
}

export interface Liveness {
  readonly alive: boolean;
  readonly reason?: string;
}
