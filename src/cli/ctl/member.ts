/** `ringmq ctl member …`: who takes part in the group. Main thread of the command's process. */
import type { PlacementClient } from '../../rpc/client/placement-client.ts';
import type { GroupStatus } from '../../rpc/generated/ringmq/placement/v1/group.ts';
import { CliError, EXIT_OK } from '../exit-codes.ts';
import { jsonGroup, jsonMember, memberTable } from './cluster.ts';
import type { Printer } from './printer.ts';
import type { Group, Verb } from './verb.ts';

/** Members are named by their replica number, or by their name where only one has it. */
async function toReplica(client: PlacementClient, text: string): Promise<string> {
  if (/^\d+$/.test(text)) return text;
  const found = (await client.members.list()).filter(({ name }) => name === text);
  if (found.length === 1) return found[0].replica;
  const problem = found.length === 0 ? 'there is no such member' : 'several members have this name, use the number';
  throw new CliError(`Cannot find member "${text}": ${problem}`);
}

function printGroup(print: Printer, group: GroupStatus): number {
  print.result(jsonGroup(group), () => memberTable(group.members));
  return EXIT_OK;
}

const list: Verb = {
  summary: 'the members',
  values: [],
  run: async ({ client, print }) => {
    const members = await client.members.list();
    print.result({ members: members.map(jsonMember) }, () => memberTable(members));
    return EXIT_OK;
  },
};

const add: Verb = {
  summary: 'take a replica in as a learner: it receives everything and has no vote yet',
  values: ['REPLICA', 'HOST:PORT'],
  options: [{ long: 'name', value: 'NAME', help: 'what people call it (the address)' }],
  run: async ({ client, values: [replica, address], options, print }) =>
    printGroup(print, await client.members.addLearner(replica, options.text('name') ?? address, address)),
};

const promote: Verb = {
  summary: 'give a learner that has caught up its vote',
  values: ['MEMBER'],
  run: async ({ client, values: [member], print }) =>
    printGroup(print, await client.members.promote(await toReplica(client, member))),
};

const remove: Verb = {
  summary: 'take a member out of the group',
  values: ['MEMBER'],
  run: async ({ client, values: [member], print }) =>
    printGroup(print, await client.members.remove(await toReplica(client, member))),
};

const transfer: Verb = {
  summary: 'hand the leadership to a member',
  values: ['MEMBER'],
  run: async ({ client, values: [member], print }) =>
    printGroup(print, await client.members.transferLeadership(await toReplica(client, member))),
};

export const member: Group = {
  summary: 'members of the group',
  verbs: new Map([
    ['list', list],
    ['add', add],
    ['promote', promote],
    ['remove', remove],
    ['transfer', transfer],
  ]),
};
