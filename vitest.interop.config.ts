// The test run of `npm run test:interop`: third-party clients (mosquitto's, paho, MQTT.js) against a running broker.
// One file at a time, so that a slow client never competes with another one for the machine.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    passWithNoTests: false,
  },
});
