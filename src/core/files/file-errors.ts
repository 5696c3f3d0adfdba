/** What the operating system said of a file. Thread: whoever owns the files; used by the logs and what stands on them. */

/** `code` of an error of the operating system, or an empty text. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** Whether there was no room left; nothing else about the disk is in doubt then. */
export function isOutOfSpace(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT';
}
