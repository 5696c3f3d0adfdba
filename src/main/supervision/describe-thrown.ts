/** Log fields of what a worker thread threw. Main thread; used by the supervisors. */

/** What of a thrown value goes to the log. A value that crossed threads may have lost its class. */
export function describeThrown(error: unknown): { error?: string; code?: string; stack?: string } {
  if (error === undefined) return {};
  if (!(error instanceof Error)) return { error: String(error) };
  const { code } = error as { code?: unknown };
  return {
    error: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(error.stack === undefined ? {} : { stack: error.stack }),
  };
}
