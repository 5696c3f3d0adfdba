/** Exit statuses and errors of the command line. Main thread of the command's process; thrown by verbs, read by `main`. */

/** Exit statuses that scripts may rely on. A refused connection ends with the CONNACK's reason code, as mosquitto does. */
export const EXIT_OK = 0;
export const EXIT_USAGE = 1;
export const EXIT_FAILED = 2;
/** `sub -W`: the same number as in mosquitto_sub. */
export const EXIT_TIMEOUT = 27;

/** Ends the command with `exitCode` and one line on standard error; no stack is shown. */
export class CliError extends Error {
  override readonly name: string = 'CliError';
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT_FAILED) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** A wrong flag or value: the caller's line is at fault, nothing was done. */
export class UsageError extends CliError {
  override readonly name = 'UsageError';

  constructor(message: string) {
    super(message, EXIT_USAGE);
  }
}
