/**
 * A broken promise of the system under test. The first one of a run is kept here: it may be thrown inside of the system,
 * which takes every error for its own end and goes on.
 */

export type Invariant =
  | 'election-safety'
  | 'vote-once'
  | 'log-matching'
  | 'leader-completeness'
  | 'commit-rule'
  | 'promise-kept'
  | 'state-machine-safety'
  | 'state-digest'
  | 'no-lost-write'
  | 'applied-once'
  | 'refused-write-absent'
  | 'answer-fits-model'
  | 'no-stale-read'
  | 'linearizability'
  | 'watch-order'
  | 'lease-time'
  | 'liveness'
  | 'convergence'
  | 'corruption-unfounded'
  | 'crash'
  | 'nothing-happened';

let first: Violation | null = null;

/** The first of this run. */
export function firstViolation(): Violation | null {
  return first;
}

export function forgetViolations(): void {
  first = null;
}

export class Violation extends Error {
  override readonly name = 'Violation';
  readonly invariant: Invariant;

  constructor(invariant: Invariant, message: string, options?: ErrorOptions) {
    super(message, options);
    this.invariant = invariant;
    first ??= this;
  }
}

export function demand(condition: boolean, invariant: Invariant, message: () => string): asserts condition {
  if (!condition) throw new Violation(invariant, message());
}
