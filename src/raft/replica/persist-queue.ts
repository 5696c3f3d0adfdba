/**
 * Rounds of the core in the order in which they must become durable: what a round promises to others is sent once it
 * and every earlier one are on disk. Thread: the Raft worker; used by `replica.ts`.
 */
import type { Message } from '../consensus/types.ts';

interface Round {
  readonly number: number;
  readonly messages: readonly Message[];
  isDurable: boolean;
}

export class PersistQueue {
  private readonly rounds: Round[] = [];
  private readonly release: (number: number, messages: readonly Message[]) => void;

  /** `release` is called once per round, in order. */
  constructor(release: (number: number, messages: readonly Message[]) => void) {
    this.release = release;
  }

  get isEmpty(): boolean {
    return this.rounds.length === 0;
  }

  /** Answers what to call when the round is on disk. */
  add(number: number, messages: readonly Message[]): () => void {
    const round = { number, messages, isDurable: false };
    this.rounds.push(round);
    return () => {
      round.isDurable = true;
      this.drain();
    };
  }

  clear(): void {
    this.rounds.length = 0;
  }

  private drain(): void {
    while (this.rounds[0]?.isDurable === true) {
      const round = this.rounds.shift() as Round;
      this.release(round.number, round.messages);
    }
  }
}
