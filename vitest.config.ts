// The test run of `npm test`: everything except the interoperability suites, which need other clients installed.
// No more than two worker processes: the tests start brokers with several threads each.
import { defineConfig } from 'vitest/config';

/** Whose files start no process and leave nothing behind in theirs, so that they share one: a process for each takes longer than its tests. */
const sharing = [
  'test/golden/**/*.test.ts',
  ...['admin', 'auth', 'config', 'core', 'observability', 'protocols', 'rpc', 'shm', 'std'].map(
    (folder) => `test/unit/${folder}/**/*.test.ts`,
  ),
];
const exclude = ['test/interop/**', 'node_modules/**', 'dist/**'];

export default defineConfig({
  test: {
    setupFiles: ['test/support/seed.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 20_000,
    passWithNoTests: false,
    projects: [
      { extends: true, test: { name: 'sharing', include: sharing, exclude, isolate: false } },
      { extends: true, test: { name: 'alone', include: ['test/**/*.test.ts'], exclude: [...exclude, ...sharing] } },
    ],
  },
});
