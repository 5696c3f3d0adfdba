// Builds what `npm pack` ships: compiles src to dist with tsc and copies what is not TypeScript. Called by `npm run
// build`. Node runs the sources as they are everywhere but below a node_modules folder, so only packages need this.
import { execFileSync } from 'node:child_process';
import { cpSync, globSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const out = join(root, 'dist');
rmSync(out, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
for (const file of globSync('src/**/*.{json,html,css,proto,yaml}', { cwd: root })) {
  cpSync(join(root, file), join(out, file));
}
