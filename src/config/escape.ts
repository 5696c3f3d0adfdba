/** Keeps texts that somebody wrote from acting on the terminal that shows them. Pure. */

/** Beyond what JSON escapes: controls, line separators, and what reverses the direction of text. */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Writes such characters as `\\uXXXX`, which JSON and YAML read back in quoted text. */
export function escapeControls(text: string): string {
  return text.replace(unsafe, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
