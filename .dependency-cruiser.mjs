// The import law as dependency-cruiser's configuration: who may import whom, in one table. Read by scripts/import-law.ts
// (`npm run law`) and by its canary test/unit/house/import-law.test.ts, which plants every possible violation.
//
// dependency-cruiser 18 does not know TypeScript 7: without @swc/core beside it, it reads no module and passes. Both
// callers therefore compare what it read with what lies in the folders.

/** One row per folder: it may import itself and the folders listed, nothing else. */
export const law = {
  std: [],
  shm: ['std'],
  observability: ['std', 'shm'],
  core: ['std', 'shm', 'observability'],
  rpc: ['std'],
  config: ['std', 'core'],
  net: ['std', 'shm', 'observability', 'core'],
  journal: ['std', 'shm', 'observability', 'core'],
  storage: ['std', 'observability', 'core'],
  auth: ['std', 'observability', 'core'],
  raft: ['std', 'shm', 'observability', 'core', 'rpc'],
  protocols: ['std', 'shm', 'observability', 'core', 'rpc'],
  workers: ['std', 'shm', 'observability', 'core', 'net', 'config', 'journal', 'storage', 'auth', 'protocols'],
  admin: ['std', 'shm', 'observability', 'core', 'net', 'rpc', 'config'],
  cli: ['std', 'rpc', 'config'],
  main: [
    ...['std', 'shm', 'observability', 'core', 'rpc', 'config', 'net', 'journal', 'storage', 'auth', 'raft'],
    ...['protocols', 'workers', 'admin'],
  ],
};

/** Thread entries put together what their thread needs, so they may import more than the rest of their folder. */
const threadEntry = '[.]worker[.]ts$';
const extraOfThreadEntries = { raft: ['config'] };

/** Packages with a home: nothing else in src imports them. */
const homes = [
  { name: 'lmdb', packages: ['lmdb'], folders: 'storage/lmdb|raft/placement' },
  { name: 'web-socket', packages: ['uWebSockets[.]js', 'ws'], folders: 'net' },
];

/** Folders of parts that must not know each other and are reached through their registry alone. */
const pluggable = 'protocols|storage|auth';

function packagePath(names) {
  return `^(node_modules/|node_modules/@types/)?(${names.join('|')})(/|$)`;
}

function forbid(name, from, to) {
  return { name, severity: 'error', from, to };
}

function forbidAllBut(name, from, folders) {
  return forbid(name, from, { path: '^src/', pathNot: `^src/(${folders.join('|')})/` });
}

function layersOf(folder, allowed) {
  const extra = extraOfThreadEntries[folder];
  if (extra === undefined) return [forbidAllBut(`layer-${folder}`, { path: `^src/${folder}/` }, [folder, ...allowed])];
  const entries = { path: `^src/${folder}/.*${threadEntry}` };
  const rest = { path: `^src/${folder}/`, pathNot: threadEntry };
  return [
    forbidAllBut(`layer-${folder}`, rest, [folder, ...allowed]),
    forbidAllBut(`layer-${folder}-entry`, entries, [folder, ...allowed, ...extra]),
  ];
}

const forbidden = [
  ...Object.entries(law).flatMap(([folder, allowed]) => layersOf(folder, allowed)),
  // A new folder of src needs a row in the table; without one it may be imported by nobody and import nothing.
  forbid('folder-has-a-row', { path: '^src/', pathNot: `^src/(${Object.keys(law).join('|')})/` }, { path: '^src/' }),
  forbid('no-cycle', {}, { circular: true }),
  forbid(
    'siblings-are-strangers',
    { path: `^src/(${pluggable})/([^/]+)/` },
    { path: '^src/$1/[^/]+/', pathNot: '^src/$1/$2/' },
  ),
  forbid(
    'plugin-only-through-registry',
    { path: '^src/', pathNot: `^src/(${pluggable})/(registry[.]ts|[^/]+/)` },
    { path: `^src/(${pluggable})/[^/]+/` },
  ),
  forbid('consensus-is-pure', { path: '^src/raft/consensus/' }, { pathNot: '^src/(raft/consensus|std)/' }),
  forbid(
    'codec-is-pure',
    { path: '^src/protocols/[^/]+/codec/' },
    { pathNot: ['^src/protocols/[^/]+/codec/', '^src/std/'] },
  ),
  ...homes.map(({ name, packages, folders }) =>
    forbid(`home-of-${name}`, { path: '^src/', pathNot: `^src/(${folders})/` }, { path: packagePath(packages) }),
  ),
  forbid(
    'bench-stays-native-free',
    { path: '^native-free-bench/' },
    { path: packagePath(['lmdb', 'uWebSockets[.]js']), reachable: true },
  ),
  // A suite measures parts in its own process; the side-by-side runs start whole brokers as processes of their own.
  forbid('bench-starts-no-broker', { path: '^native-free-bench/' }, { path: '^src/(main|workers)/' }),
  forbid('src-never-imports-tests', { path: '^src/' }, { path: '^(test|native-free-bench|scripts)/' }),
];

export default {
  forbidden,
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
