/** Reads the hand-made bytes of `test/golden/journal`: hexadecimal numbers, `@n` fills with zeros up to byte n, `#` comments. */

import { readFileSync } from 'node:fs';

export function goldenBytes(name: string): Buffer {
  const text = readFileSync(new URL(`../../golden/journal/${name}.hex`, import.meta.url), 'utf8');
  let bytes = Buffer.alloc(0);
  for (const line of text.split('\n')) {
    const content = line.replace(/#.*/, '').trim();
    if (content.startsWith('@')) bytes = Buffer.concat([bytes, Buffer.alloc(Number(content.slice(1)) - bytes.length)]);
    else bytes = Buffer.concat([bytes, Buffer.from(content.replaceAll(' ', ''), 'hex')]);
  }
  return bytes;
}
