/**
 * The way from the checkers to the host of the store: a process of its own, or one in the same process over simulated disks. A link
 * lives as long as its host; what was not answered when that dies is never answered. Thread of the test.
 */
import type { CallFailure, CallName, Calls, Push } from './store-lines.ts';

export class CallError extends Error {
  readonly code: string;

  constructor({ code, message }: CallFailure) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

/** The code of calls, and of pauses, that the death of the host has cut short. */
export const linkOver = 'LINK_OVER';

export function isOver(error: unknown): boolean {
  return error instanceof CallError && error.code === linkOver;
}

export function codeOf(error: unknown): string {
  return error instanceof CallError ? error.code : '';
}

export type Tell<Name extends CallName> = (failure: CallFailure | null, answer: Calls[Name]['answer']) => void;

export interface Link {
  readonly isOver: boolean;
  /** Milliseconds since 1970, on the clock of the host. */
  now(): number;
  /** `tell` comes in the order in which the host answered and pushed; never when the host dies before. */
  send<Name extends CallName>(type: Name, given: Calls[Name]['given'], tell: Tell<Name>): void;
  /** Rejects with CallError: the refusal, or LINK_OVER. */
  ask<Name extends CallName>(type: Name, given: Calls[Name]['given']): Promise<Calls[Name]['answer']>;
  /** Lets others work. Rejects with LINK_OVER. */
  pause(ms: number): Promise<void>;
}

/** One service from the outside: it loads the host, remembers what it was told, and says what is not as it must be. */
export interface Client {
  readonly name: string;
  /** What happened; those that are in `needs` must not stay at zero. */
  readonly counts: Readonly<Record<string, number>>;
  readonly needs: readonly string[];
  /** Counts that grow while it is under load: a life in which they did not has tried little. */
  readonly progress: readonly string[];
  /** The host is new: compares. Begun again when it is cut short. Throws what is wrong. */
  check(link: Link, isFull: boolean): Promise<void>;
  /** Loads the host until it dies. Rejects with what is wrong, and with LINK_OVER in the end. */
  live(link: Link): Promise<void>;
  onPush(push: Push): void;
  /** The host has died, and all that it had said was heard. */
  onCrash(): void;
  /** Lets everything come to its end, without new load. */
  finish(link: Link): Promise<void>;
}

/** Waits for all, then rejects with what is wrong: the death of the host is what ends them all. */
export async function together(loops: readonly Promise<void>[]): Promise<void> {
  const reasons: unknown[] = [];
  for (const outcome of await Promise.allSettled(loops))
    if (outcome.status === 'rejected') reasons.push(outcome.reason);
  const wrong = reasons.find((reason) => !isOver(reason));
  if (wrong !== undefined) throw wrong;
  if (reasons.length > 0) throw reasons[0];
}
