/**
 * The rule file: rules of one node in YAML, asked before those of the cluster. Main thread.
 *
 * A file that is missing, unreadable, or without rules must never mean that everything is allowed. At the start each of
 * these denies everything. Later, a file that cannot be understood leaves the rules that are in force in force, which
 * is neither opener nor an outage by a slip of the pen; one that is missing or holds no rule denies everything.
 */
import { unwatchFile, watchFile } from 'node:fs';
import { ruleError } from '../../auth/registry.ts';
import { checkNode } from '../../config/check.ts';
import type { SettingSchema } from '../../config/json-schema.ts';
import { Problems, type SourceNode } from '../../config/source.ts';
import { readYamlFile } from '../../config/yaml-file.ts';
import { type AccessRule, defaultTenant } from '../../core/ports/access.ts';
import { boolean, choice, integer, list, section, text } from '../../core/settings/schema-builders.ts';
import type { Logger } from '../../observability/log.ts';

/** How often the file is looked at, ms. */
const pollMs = 1_000;
/** Time for an editor to finish what it writes. */
const settleMs = 100;

const names = (description: string, maxLength: number) =>
  list(text({ description, maxLength }), { description, maxItems: 1_000 });

/** As the file is written; what is absent is any. */
const fileSchema = section(
  {
    rules: list(
      section(
        {
          name: text({ description: 'Name for people and for `ringmq ctl acl check`.', minLength: 1, maxLength: 255 }),
          tenant: text({ description: 'Tenant.', minLength: 1, maxLength: 255 }),
          permission: choice(['allow', 'deny'], { description: 'What happens when the rule matches.' }),
          actions: list(choice(['connect', 'publish', 'subscribe'], { description: 'An action.' }), {
            description: 'Actions.',
            maxItems: 3,
          }),
          users: names('Users; an empty text is the anonymous one.', 255),
          groups: names('Groups.', 255),
          clients: names('Client ids.', 1_024),
          addresses: names('Addresses and ranges.', 64),
          topics: names('Topic filters.', 65_535),
          exact: boolean({ description: 'The filters are compared as text.' }),
          qos: list(integer({ description: 'A quality of service.', minimum: 0, maximum: 2 }), {
            description: 'Qualities of service.',
            maxItems: 3,
          }),
          retain: choice(['any', 'retained', 'plain'], { description: 'Publications.' }),
        },
        { description: 'A rule.' },
      ),
      { description: 'Rules in the order in which they are asked.', maxItems: 10_000 },
    ),
  },
  { description: 'Rules of access.' },
) as unknown as SettingSchema;

export type FileRules =
  | { readonly kind: 'rules'; readonly rules: readonly AccessRule[] }
  /** Read as it is meant, and nothing in it. */
  | { readonly kind: 'empty'; readonly reason: string }
  | { readonly kind: 'broken'; readonly reason: string };

/** Never rejects. */
export async function readRuleFile(path: string): Promise<FileRules> {
  const problems = new Problems();
  const tree = await readYamlFile(path, problems);
  const checked = tree === undefined ? undefined : checkNode(fileSchema, tree, [], problems);
  if (checked === undefined || problems.count > 0) {
    const reason = problems.messages.join('; ');
    const isMissing = problems.messages.length === 1 && reason.endsWith('it does not exist');
    return isMissing ? { kind: 'empty', reason: `the rule file "${path}" does not exist` } : { kind: 'broken', reason };
  }
  return rulesOf(path, plainOf(checked) as ReadonlyMap<string, unknown>);
}

function rulesOf(path: string, file: ReadonlyMap<string, unknown>): FileRules {
  const given = (file.get('rules') ?? []) as readonly ReadonlyMap<string, unknown>[];
  if (given.length === 0) return { kind: 'empty', reason: `the rule file "${path}" holds no rules` };
  const rules: AccessRule[] = [];
  for (const [index, entry] of given.entries()) {
    const rule = ruleOf(entry, index);
    const problem = rule === null ? '"permission" is missing: expected allow or deny' : ruleError(rule);
    if (rule === null || problem !== undefined) {
      return { kind: 'broken', reason: `${path}: rules.${index}: ${problem}` };
    }
    rules.push(rule);
  }
  return { kind: 'rules', rules };
}

function ruleOf(entry: ReadonlyMap<string, unknown>, index: number): AccessRule | null {
  const permission = entry.get('permission');
  if (permission !== 'allow' && permission !== 'deny') return null;
  // Checked against the schema above; an absent list is an empty one.
  const listOf = <T>(name: string): readonly T[] => (entry.get(name) ?? []) as readonly T[];
  return {
    tenant: (entry.get('tenant') as string | undefined) ?? defaultTenant,
    rule: `file:${(entry.get('name') as string | undefined) ?? index + 1}`,
    permission,
    actions: listOf('actions'),
    users: listOf('users'),
    groups: listOf('groups'),
    clients: listOf('clients'),
    addresses: listOf('addresses'),
    topics: listOf('topics'),
    isExact: entry.get('exact') === true,
    qos: listOf('qos'),
    retain: (entry.get('retain') as AccessRule['retain'] | undefined) ?? 'any',
  };
}

/** Maps stay maps: their keys are whatever somebody wrote. */
function plainOf(node: SourceNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plainOf);
  return new Map([...node.entries].map(([key, { node: child }]) => [key, plainOf(child)]));
}

export interface RuleFileOptions {
  readonly path: string;
  readonly log: Logger;
  /** What is in force from now on: rules, or why nothing is allowed. */
  changed(rules: readonly AccessRule[], problem: string | null): void;
}

export class RuleFile {
  /** Why the newest version of the file is not in force, or null. */
  problem: string | null = null;
  readonly #options: RuleFileOptions;
  readonly #listener = (): void => {
    this.#timer ??= setTimeout(() => void this.reload(), settleMs);
  };
  #timer: NodeJS.Timeout | null = null;
  #hasRules = false;
  #isStopped = false;

  constructor(options: RuleFileOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.reload();
    watchFile(this.#options.path, { interval: pollMs, persistent: false }, this.#listener);
  }

  async reload(): Promise<void> {
    clearTimeout(this.#timer ?? undefined);
    this.#timer = null;
    const { path, log } = this.#options;
    const read = await readRuleFile(path);
    if (this.#isStopped) return;
    this.problem = read.kind === 'rules' ? null : read.reason;
    if (read.kind === 'rules') {
      this.#hasRules = true;
      log.info('Rule file is in force', { path, rules: read.rules.length });
      this.#options.changed(read.rules, null);
    } else if (read.kind === 'broken' && this.#hasRules) {
      log.error('Rule file cannot be used: the rules before it stay in force', { path, reason: read.reason });
    } else {
      this.#hasRules = false;
      log.error('Rule file cannot be used: everything is denied', { path, reason: read.reason });
      this.#options.changed([], read.reason);
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer ?? undefined);
    unwatchFile(this.#options.path, this.#listener);
  }
}
