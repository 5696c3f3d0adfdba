// The storage adapter `postgres` on a real server: the contract of all stores, and what happens when the server or the way to it fails.
import { DatabaseBench } from './database-bench.ts';
import { databaseEngine } from './database-engine.ts';
import { databaseFaults } from './database-faults.ts';
import { databaseSetup } from './database-setup.ts';
import { engineRetention } from './engine-retention.ts';
import { postgresAdapter } from './postgres-adapter.ts';

const bench = new DatabaseBench(postgresAdapter);

bench.contract();
databaseEngine(bench);
engineRetention(() => {
  const place = bench.place();
  return () => bench.engine(place);
});
databaseFaults(bench);
databaseSetup(bench);
