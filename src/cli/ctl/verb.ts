/** What a verb of `ringmq ctl` is. Types only; implemented by the files of this folder, run by `commands/ctl.ts`. */
import type { PlacementClient } from '../../rpc/client/placement-client.ts';
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import type { CliIo } from '../io.ts';
import type { Printer } from './printer.ts';

export interface VerbInput {
  readonly client: PlacementClient;
  /** As many as the verb asks for. */
  readonly values: readonly string[];
  readonly options: ParsedArguments;
  readonly print: Printer;
  readonly io: CliIo;
}

export interface Verb {
  readonly summary: string;
  /** Names of the values that it takes, in order; those in brackets may be missing. */
  readonly values: readonly string[];
  readonly options?: readonly OptionSpec[];
  /** More for the help, as lines. */
  readonly notes?: string;
  /** It needs no server: `client` is not used. */
  readonly isOffline?: boolean;
  /** Resolves with the exit status; failures are thrown. */
  readonly run: (input: VerbInput) => Promise<number>;
}

export interface Group {
  readonly summary: string;
  /**
   * Flags of its own for reaching a broker, for a group that is served over HTTP: `client` is not used. Default: those for the
   * members of the cluster.
   */
  readonly connection?: readonly OptionSpec[];
  /** By name; the only one of a group without verbs is called ''. */
  readonly verbs: ReadonlyMap<string, Verb>;
}
