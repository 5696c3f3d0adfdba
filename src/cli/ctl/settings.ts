/** How `ringmq ctl` reaches the cluster: flags and environment. Main thread of the command's process. */
import { readFileSync } from 'node:fs';
import { parseEndpoints } from '../../rpc/client/endpoints.ts';
import type { ClientOptions } from '../../rpc/client/placement-client.ts';
import type { ClientTls } from '../../rpc/client/server-security.ts';
import type { OptionSpec, ParsedArguments } from '../arguments.ts';
import { UsageError } from '../exit-codes.ts';

export const connectionOptions: readonly OptionSpec[] = [
  { long: 'server', short: 's', value: 'HOST:PORT[,…]', help: 'members of the cluster ($RINGMQ_SERVER)' },
  { long: 'timeout', value: 'SECONDS', help: 'for the whole command; between two parts of a stream (5)' },
  { long: 'json', help: 'print JSON instead of a table' },
  { long: 'ca', value: 'FILE', help: 'certificates that the servers are believed by; switches TLS on' },
  { long: 'cert', value: 'FILE', help: 'certificate to show to the servers' },
  { long: 'key', value: 'FILE', help: 'its private key' },
  { long: 'server-name', value: 'NAME', help: 'name in the certificates of the servers, where it is not the host' },
];

/** Throws `UsageError`. */
export function readClientOptions(options: ParsedArguments, environment: NodeJS.ProcessEnv): ClientOptions {
  const servers = options.text('server') ?? environment.RINGMQ_SERVER;
  if (servers === undefined || servers === '') {
    throw new UsageError('Cannot connect: expected --server HOST:PORT, or RINGMQ_SERVER in the environment');
  }
  const timeoutMs = Math.ceil(options.number('timeout', 5, 0.001, 86_400) * 1000);
  try {
    return { servers: parseEndpoints(servers), tls: readTls(options), timeoutMs, followLeader: false };
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

function readTls(options: ParsedArguments): ClientTls | null {
  const [ca, certificate, key] = ['ca', 'cert', 'key'].map((flag) => readPem(options.text(flag)));
  const serverName = options.text('server-name');
  if (ca === null && certificate === null && key === null) return null;
  if ((certificate === null) !== (key === null)) throw new UsageError('Cannot use TLS: --cert and --key go together');
  return { ca, certificate, key, ...(serverName === undefined ? {} : { serverName }) };
}

function readPem(path: string | undefined): Buffer | null {
  if (path === undefined) return null;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`Cannot read "${path}": ${(error as Error).message}`);
  }
}
