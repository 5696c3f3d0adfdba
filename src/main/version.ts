/** The version of this package. Main thread, once at start. */
import { existsSync, readFileSync } from 'node:fs';

/** Read from the package.json above this file: two folders up in a clone, three in the published `dist/`. */
export function readVersion(): string {
  const places = ['../../package.json', '../../../package.json'].map((path) => new URL(path, import.meta.url));
  const place = places.find((url) => existsSync(url));
  if (place === undefined) return 'unknown';
  const { version } = JSON.parse(readFileSync(place, 'utf8')) as { version: string };
  return version;
}
