/**
 * The life of a broker that is a program of its own: configuration, data folder, ready line, signals, exit status. Main
 * thread, called by `main.ts` alone; the library does without all of it.
 */
import { formatAddress } from '../config/address.ts';
import { loadConfiguration } from '../config/load.ts';
import { createLogger, type Logger } from '../observability/log.ts';
import { protocols } from '../protocols/registry.ts';
import { storageParts } from '../workers/storage/adapters.ts';
import { formatListenerAddress } from './acceptor/acceptor.ts';
import { BrokerNode, type BrokerNodeOptions } from './broker.ts';
import { toBrokerSettings } from './broker-settings.ts';
import { type DataFolder, openDataFolder } from './data-folder.ts';
import { exitCodeOf, onStopSignals } from './supervision/signals.ts';
import { readVersion } from './version.ts';

/**
 * Resolves when the broker serves; the process then lives until a signal ends it. Rejects with a `BrokerError` when it
 * cannot start; nothing but the warm threads may be left running then.
 */
export async function runProgram(
  flags: readonly string[],
  warm: Required<Pick<BrokerNodeOptions, 'warmWorkers' | 'warmRaft' | 'warmJournal'>>,
): Promise<void> {
  const modulesMs = performance.now();
  const configuration = await loadConfiguration({
    environment: process.env,
    flags,
    parts: protocols,
    adapters: storageParts,
  });
  const settings = toBrokerSettings(configuration);
  const log = createLogger(settings.log);
  const configurationMs = performance.now();
  const folder = openDataFolder(configuration.node.data);
  const version = readVersion();
  const failed = (): void => {
    folder.release();
    log.flush();
    process.exit(1); // A node that cannot hold metadata must not look as if it could.
  };
  const node = new BrokerNode({
    settings,
    protocols,
    version,
    log,
    folder: folder.path,
    ...warm,
    failed,
  });
  const removeHandlers = stopOnSignals(node, folder, log, configuration.node.shutdown.drainLimitMs);
  try {
    await node.start();
  } catch (error) {
    removeHandlers();
    folder.release();
    throw error;
  }
  // The usual word for it among servers; without a listener for TLS nothing happens.
  process.on('SIGHUP', () => void node.reloadTls());
  // Rules of access too.
  process.on('SIGHUP', () => void node.reload());
  announce(node);
  const readyMs = performance.now();
  log.info('broker serves', {
    version,
    workers: settings.workerCount,
    modulesMs: Math.round(modulesMs),
    configurationMs: Math.round(configurationMs),
    readyMs: Math.round(readyMs),
  });
}

/** The one line on standard output; scripts wait for it and read the ports from it. */
function announce(node: BrokerNode): void {
  const addresses = node.addresses.map((address) => `${address.name}=${formatListenerAddress(address)}`);
  if (node.clusterAddress !== null) addresses.push(`cluster=${formatAddress(node.clusterAddress)}`);
  if (node.httpAddress !== null) addresses.push(`http=${formatAddress(node.httpAddress)}`);
  // A reader that has gone is no reason to stop serving.
  process.stdout.on('error', () => undefined);
  process.stdout.write(`ringmq ready ${addresses.join(' ')}\n`);
}

function stopOnSignals(node: BrokerNode, folder: DataFolder, log: Logger, drainLimitMs: number): () => void {
  const stop = async (signal: string): Promise<void> => {
    log.info('broker stops', { signal, drainLimitMs });
    const cutConnections = await node.stop(drainLimitMs);
    folder.release();
    log.info('broker stopped', { cutConnections });
    process.exit(0);
  };
  return onStopSignals(
    (signal) => void stop(signal),
    (signal) => {
      log.warn('broker ends at once', { signal });
      folder.release();
      process.exit(exitCodeOf(signal));
    },
  );
}
