/**
 * A copy of the sources in a temporary folder, with the toy protocol added the way any protocol is added: its folder,
 * and one line in the registry. Called by the integration tests; nothing else of the copy is changed.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));

export interface Checkout {
  readonly path: string;
  remove(): void;
}

export function checkoutWithEcho(): Checkout {
  const path = mkdtempSync(join(tmpdir(), 'ringmq-echo-'));
  for (const name of ['src', 'bin', 'package.json']) cpSync(join(root, name), join(path, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(path, 'node_modules'));
  addFolder(path);
  addRegistryLine(path);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

function addFolder(path: string): void {
  const folder = join(path, 'src/protocols/echo');
  mkdirSync(folder);
  const source = readFileSync(new URL('./index.ts', import.meta.url), 'utf8');
  // The file is type-checked where it lies; in the copy the same modules are nearer.
  writeFileSync(join(folder, 'index.ts'), source.replaceAll('../../../src/', '../../'));
}

function addRegistryLine(path: string): void {
  const registry = join(path, 'src/protocols/registry.ts');
  const lines = readFileSync(registry, 'utf8').split('\n');
  const end = lines.lastIndexOf('];');
  if (end === -1) throw new Error('Cannot add a line to the registry: its list does not end with "];"');
  lines.splice(end, 0, "  (await import('./echo/index.ts')).echo,");
  writeFileSync(registry, lines.join('\n'));
}
