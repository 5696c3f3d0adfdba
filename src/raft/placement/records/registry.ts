/** All kinds of typed records, one line each: a new kind is a file in this folder and a line here. Any thread. */
import type { RecordKind } from '../record-kind.ts';
import { accessBlockKind } from './access-block.ts';
import { accessRuleKind } from './access-rule.ts';
import { configurationKind } from './configuration.ts';
import { consumerGroupKind } from './consumer-group.ts';
import { exclusiveNameKind } from './exclusive-name.ts';
import { nodeKind } from './node.ts';
import { partitionKind } from './partition.ts';
import { ruleKind } from './rule.ts';
import { sessionNodeKind } from './session-node.ts';
import { sessionOwnerKind } from './session-owner.ts';
import { subscriptionKind } from './subscription.ts';
import { tenantKind } from './tenant.ts';
import { topicKind } from './topic.ts';
import { userKind } from './user.ts';

/** Each kind keeps its own type; together they are known by name, tag and schema. */
export const recordKinds: readonly RecordKind<unknown>[] = [
  tenantKind,
  userKind,
  topicKind,
  partitionKind,
  consumerGroupKind,
  sessionOwnerKind,
  subscriptionKind,
  ruleKind,
  configurationKind,
  nodeKind,
  accessRuleKind,
  accessBlockKind,
  sessionNodeKind,
  exclusiveNameKind,
];

const managedTags = new Set(recordKinds.filter(({ isManaged }) => isManaged).map(({ tag }) => tag));

/** Whether records of the kind are written by their own commands alone. */
export function isManagedTag(tag: number): boolean {
  return managedTags.has(tag);
}
