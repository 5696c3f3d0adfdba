/** What a verb is. Types only; implemented by each file in `commands/`, run by `main.ts`. */
import type { CliIo } from './io.ts';

/** A verb: one file in `commands/`. Its result is the exit status; it may throw `CliError` instead. */
export interface Command {
  readonly summary: string;
  /** `argv` as for `run`: a verb with parts of its own may have a text for each. */
  readonly help: (argv: readonly string[]) => string;
  readonly run: (argv: readonly string[], io: CliIo) => Promise<number>;
}
