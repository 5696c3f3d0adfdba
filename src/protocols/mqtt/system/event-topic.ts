/**
 * Client ids and node names as one level of a topic. Pure; any thread.
 *
 * Everything that would be a separator, a wildcard or nothing that a person can read is written as `%XX` for each of its UTF-8 bytes, as in
 * URLs, and so is `%` itself: no two ids have the same name. A long id is cut and ends with `%~` and its hash, which no other id can.
 */
import { createHash } from 'node:crypto';

/** Longest name in characters; longer ids are cut to leave room for the hash. */
const levelLengthMax = 512;
const hashLength = 32;

const special = /[\u0000-\u001f\u007f-\u009f/+#%\ufffe\uffff]/g;

/** `text` is well-formed Unicode. */
export function levelOf(text: string): string {
  if (text === '') return '%'; // No id is written so; an empty level would be one that is missing.
  const escaped = text.length > levelLengthMax ? '' : text.replace(special, percentEncoded);
  if (escaped !== '' && escaped.length <= levelLengthMax) return escaped;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, hashLength);
  // Cut before it is escaped, so that no escape is cut in two; and not within a pair of surrogates.
  const head = text
    .slice(0, levelLengthMax / 4)
    .toWellFormed()
    .replace(special, percentEncoded);
  return `${head}%~${hash}`;
}

function percentEncoded(character: string): string {
  let text = '';
  for (const byte of Buffer.from(character)) text += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return text;
}
