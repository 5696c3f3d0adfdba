/**
 * Commits to a state store one after the other: flushes of the applied state and the steps of a snapshot's installation
 * share it. After an error everything fails. Thread: the Raft worker; used by `placement-state.ts`.
 */
import type { Done, StateStore, StoreChange } from '../ports.ts';

interface Task {
  /** Called when it is its turn, so that it writes what is true then. Throws when it cannot. */
  build(): readonly StoreChange[];
  readonly done: Done;
}

export class CommitQueue {
  private readonly store: StateStore;
  private readonly tasks: Task[] = [];
  private failure: Error | null = null;
  private isBusy = false;

  constructor(store: StateStore) {
    this.store = store;
  }

  get isIdle(): boolean {
    return !this.isBusy;
  }

  add(build: () => readonly StoreChange[], done: Done): void {
    this.tasks.push({ build, done });
    if (!this.isBusy) this.next();
  }

  private next(): void {
    const task = this.tasks.shift();
    this.isBusy = task !== undefined;
    if (task === undefined) return;
    let batch: readonly StoreChange[] = [];
    try {
      if (this.failure === null) batch = task.build();
    } catch (error) {
      this.failure = error as Error;
    }
    this.store.commit(batch, (error) => {
      this.failure ??= error;
      task.done(this.failure);
      this.next();
    });
  }
}
