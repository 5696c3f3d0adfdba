/**
 * The default destination of log lines, on every thread.
 *
 * On the main thread Node writes to files, terminals and pipes at once, so no line is lost when the process dies. In a
 * worker Node posts the line to the main thread: a reader that does not read can stop the main thread, but not the
 * traffic. docs/adr/0004-logging.md weighs the alternatives.
 */

/** Characters that may wait where standard error is asynchronous; beyond it lines are discarded and counted. */
const pendingMax = 1024 * 1024;

let broken = false;
let prepared = false;

/** Writes one line. Answers false when it was discarded: nobody reads, or standard error is closed. */
export function writeToStderr(line: string): boolean {
  const { stderr } = process;
  if (!prepared) {
    prepared = true;
    // Without a listener a closed pipe (EPIPE) would end the broker.
    stderr.on('error', () => {
      broken = true;
    });
  }
  if (broken || stderr.destroyed || stderr.writableLength > pendingMax) return false;
  stderr.write(line);
  return true;
}
