/** `ringmq ctl lease …`: leases. Main thread of the command's process. */
import type { LeaseInfo } from '../../rpc/generated/ringmq/placement/v1/lease.ts';
import { toNumber } from '../arguments.ts';
import { CliError, EXIT_OK, UsageError } from '../exit-codes.ts';
import { jsonBytes, showBytes, toFacts } from './printer.ts';
import type { Group, Verb } from './verb.ts';

function readLease(text: string): number {
  const lease = toNumber('LEASE', text, 1, Number.MAX_SAFE_INTEGER);
  if (!Number.isInteger(lease)) throw new UsageError(`Cannot use LEASE "${text}": expected a whole number`);
  return lease;
}

function jsonLease({ lease, epoch, ttlMs, remainingMs, keys }: LeaseInfo): Record<string, unknown> {
  return { lease, epoch, ttlMs, remainingMs: remainingMs ?? null, keys: keys.map((key) => jsonBytes('key', key)) };
}

const columns = ['LEASE', 'EPOCH', 'SECONDS', 'LEFT'];

function leaseRow({ lease, epoch, ttlMs, remainingMs }: LeaseInfo): (string | number)[] {
  return [lease, epoch, ttlMs / 1000, remainingMs === undefined ? '-' : (remainingMs / 1000).toFixed(1)];
}

const grant: Verb = {
  summary: 'make a lease',
  values: ['SECONDS'],
  options: [{ long: 'id', value: 'ID', help: 'its number (random)' }],
  run: async ({ client, values: [seconds], options, print }) => {
    const ttlMs = Math.ceil(toNumber('SECONDS', seconds, 0.001, 1e9) * 1000);
    const id = options.integer('id', 0, 1);
    const result = await client.leases.grant(ttlMs, id === 0 ? {} : { lease: id });
    print.result(result, () =>
      toFacts([
        ['lease', result.lease],
        ['epoch', result.epoch],
        ['seconds', result.ttlMs / 1000],
      ]),
    );
    return EXIT_OK;
  },
};

const revoke: Verb = {
  summary: 'end a lease; its keys go',
  values: ['LEASE'],
  run: async ({ client, values: [text], print }) => {
    const lease = readLease(text);
    await client.leases.revoke(lease);
    print.result({ lease }, () => toFacts([['revoked', lease]]));
    return EXIT_OK;
  },
};

const keepAlive: Verb = {
  summary: 'extend a lease until interrupted',
  values: ['LEASE'],
  options: [{ long: 'once', help: 'extend it once' }],
  run: async ({ client, values: [text], options, print, io }) => {
    const lease = readLease(text);
    const { ttlMs } = await client.leases.get(lease);
    let stop = (): void => undefined;
    const kept = client.leases.keep(lease, ttlMs, (remainingMs) => {
      print.result({ lease, remainingMs }, () => `lease ${lease} has ${(remainingMs / 1000).toFixed(1)} s\n`);
      if (options.has('once')) stop();
    });
    stop = () => kept.stop();
    const removeStop = io.onStop(stop);
    const reason = await kept.lost;
    removeStop();
    if (reason !== null) throw new CliError(`${reason.message} (${reason.code})`);
    return EXIT_OK;
  },
};

const get: Verb = {
  summary: 'a lease and its keys',
  values: ['LEASE'],
  run: async ({ client, values: [text], print }) => {
    const found = await client.leases.get(readLease(text));
    const keys = found.keys.map(showBytes).join(' ') || '-';
    print.table(jsonLease(found), [...columns, 'KEYS'], [[...leaseRow(found), keys]]);
    return EXIT_OK;
  },
};

const list: Verb = {
  summary: 'all leases',
  values: [],
  run: async ({ client, print }) => {
    const found = await client.leases.list();
    // The servers tell the keys of one lease, not of all.
    const json = found.map(jsonLease).map(({ keys: _, ...each }) => each);
    print.table({ leases: json }, columns, found.map(leaseRow));
    return EXIT_OK;
  },
};

export const lease: Group = {
  summary: 'leases: keys with an end',
  verbs: new Map([
    ['grant', grant],
    ['revoke', revoke],
    ['keep-alive', keepAlive],
    ['get', get],
    ['list', list],
  ]),
};
