/**
 * Names and passwords as they may be. Pure; any thread.
 *
 * A name is compared as it is, byte for byte: a broker that folded names would let one user in as another. So that two
 * names that look the same cannot both be made, new names are in Unicode's normal form C and without control characters.
 */

export const userLengthMax = 255;
/** Longer ones are refused before anything is computed of them. */
export const passwordBytesMax = 1_024;
export const passwordBytesMin = 8;

const control = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;

/** Returns why there can be no user of this name, or undefined. */
export function userNameError(name: string): string | undefined {
  if (name === '') return 'a name has at least 1 character';
  if (name.length > userLengthMax) return `a name has at most ${userLengthMax} characters`;
  if (!name.isWellFormed()) return 'a name is well-formed Unicode';
  if (control.test(name)) return 'a name has no control and no invisible characters';
  if (name.normalize('NFC') !== name) return 'a name is in the normal form C of Unicode';
  return undefined;
}

/** Returns why this cannot become a password, or undefined. What is already stored is not asked again. */
export function passwordError(password: Uint8Array): string | undefined {
  if (password.length < passwordBytesMin) return `a password has at least ${passwordBytesMin} bytes`;
  if (password.length > passwordBytesMax) return `a password has at most ${passwordBytesMax} bytes`;
  if (password.includes(0)) return 'a password has no byte 0';
  return undefined;
}
