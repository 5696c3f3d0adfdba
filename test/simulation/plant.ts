/**
 * Loads the simulation once more with a bug in it: all modules of the repository are loaded again under a name of their
 * own, and the source of some is changed on the way. The modules that were loaded before stay as they are.
 */
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { SourceEdit } from './mutation.ts';
import type { RunOptions, RunReport } from './world.ts';

const root = new URL('../../', import.meta.url).href;
const mark = '?planted=';

function nameOf(url: string | undefined): string | null {
  const at = url?.indexOf(mark) ?? -1;
  return url === undefined || at < 0 ? null : url.slice(at + mark.length);
}

export class PlantError extends Error {
  override readonly name = 'PlantError';
}

/** Answers `simulate` of a system with the edits in it. Throws `PlantError` when the source has none of the places. */
export async function plant(name: string, edits: readonly SourceEdit[]): Promise<(options: RunOptions) => RunReport> {
  const done = new Set<SourceEdit>();
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const resolved = next(specifier, context);
      const isOurs = resolved.url.startsWith(root) && !resolved.url.includes('/node_modules/');
      const parent = nameOf(context.parentURL);
      if (!isOurs || parent !== name || nameOf(resolved.url) !== null) return resolved;
      return { ...resolved, url: `${resolved.url}${mark}${name}` };
    },
    load: (url, context, next) => {
      const loaded = next(url, context);
      if (nameOf(url) !== name) return loaded;
      const path = fileURLToPath(url.slice(0, url.indexOf(mark))).slice(fileURLToPath(root).length);
      let source = loaded.source === undefined || loaded.source === null ? '' : sourceText(loaded.source);
      for (const edit of edits) {
        if (edit.file !== path) continue;
        const count = source.split(edit.find).length - 1;
        if (count !== 1) throw new PlantError(`Cannot plant "${name}": ${path} has ${count} times "${edit.find}"`);
        source = source.replace(edit.find, () => edit.replace);
        done.add(edit);
      }
      return { ...loaded, source };
    },
  });
  try {
    const url = pathToFileURL(fileURLToPath(new URL('./world.ts', import.meta.url))).href;
    const world = (await import(`${url}${mark}${name}`)) as { simulate: (options: RunOptions) => RunReport };
    const missing = edits.find((edit) => !done.has(edit));
    if (missing !== undefined) throw new PlantError(`Cannot plant "${name}": ${missing.file} was not loaded`);
    return world.simulate;
  } finally {
    hooks.deregister();
  }
}

function sourceText(source: string | ArrayBuffer | NodeJS.TypedArray): string {
  if (typeof source === 'string') return source;
  return new TextDecoder().decode(source);
}
