/**
 * Rules in the form in which they are evaluated. Pure; connection workers, and the main thread for explanations.
 *
 * What a subscription may be: it is allowed only when one rule that allows covers its whole filter, and no rule in front of
 * that denies any part of it. The union of several allowing rules is not computed, so the answer is never too generous.
 */
import type { AccessRule, Identity } from '../../core/ports/access.ts';
import { type AddressRange, contains, parseIp, parseRange } from '../addresses.ts';
import { covers, type Levels, levelsOf, overlaps } from './filters.ts';
import { fillIn, hasPlaceholder, widest } from './templates.ts';

/** A rule for one identity: its filters are filled in. */
export interface RuleForOne {
  readonly rule: AccessRule;
  readonly isAllowing: boolean;
  /** Null: every topic. */
  readonly filters: readonly Levels[] | null;
  /** For exact rules instead. */
  readonly texts: ReadonlySet<string> | null;
  /** Bit per quality of service. */
  readonly qosMask: number;
}

/** One rule, taken apart once for all identities. */
export class CompiledRule {
  readonly rule: AccessRule;
  readonly isTemplate: boolean;
  private readonly users: ReadonlySet<string> | null;
  private readonly groups: ReadonlySet<string> | null;
  private readonly clients: ReadonlySet<string> | null;
  private readonly ranges: readonly AddressRange[] | null;
  private readonly plain: RuleForOne;

  constructor(rule: AccessRule) {
    this.rule = rule;
    this.users = setOf(rule.users);
    this.groups = setOf(rule.groups);
    this.clients = setOf(rule.clients);
    // A range that cannot be read matches nobody; rules are checked before they come here.
    this.ranges = rule.addresses.length === 0 ? null : rule.addresses.map(parseRange).filter((range) => range !== null);
    this.isTemplate = rule.topics.some(hasPlaceholder);
    this.plain = forOne(rule, rule.topics.length === 0 ? null : rule.topics);
  }

  /** Whether the rule speaks of this client at all. */
  isAbout(identity: Identity): boolean {
    const { users, groups, clients, ranges, rule } = this;
    if (rule.tenant !== identity.tenant) return false;
    if (users !== null && !users.has(identity.user)) return false;
    if (clients !== null && !clients.has(identity.clientId)) return false;
    if (groups !== null && !identity.groups.some((group) => groups.has(group))) return false;
    if (ranges === null) return true;
    const address = parseIp(identity.address);
    return address !== null && ranges.some((range) => contains(range, address));
  }

  /** The rule with the identity's values put in; null when nothing is left of it. */
  fill(identity: Identity): RuleForOne | null {
    if (!this.isTemplate) return this.plain;
    const { rule } = this;
    const filled = rule.topics.map((topic) => fillIn(topic, identity));
    const usable = filled.filter((topic) => topic !== null);
    if (usable.length === filled.length) return forOne(rule, usable);
    if (rule.permission === 'allow') return usable.length === 0 ? null : forOne(rule, usable);
    const wide = rule.topics.map((topic, index) => filled[index] ?? widest(topic));
    const isAll = wide.includes(null);
    return forOne({ ...rule, isExact: false }, isAll ? null : (wide as string[]));
  }
}

function setOf(names: readonly string[]): ReadonlySet<string> | null {
  return names.length === 0 ? null : new Set(names);
}

function forOne(rule: AccessRule, topics: readonly string[] | null): RuleForOne {
  return {
    rule,
    isAllowing: rule.permission === 'allow',
    filters: topics === null || rule.isExact ? null : topics.map(levelsOf),
    texts: topics !== null && rule.isExact ? new Set(topics) : null,
    qosMask: rule.qos.length === 0 ? 7 : rule.qos.reduce((mask, qos) => mask | (1 << qos), 0),
  };
}

/** The first rule that speaks of publishing to `topic`, or null. */
export function firstForPublish(
  rules: readonly RuleForOne[],
  topic: string,
  qos: number,
  isRetained: boolean,
): RuleForOne | null {
  const levels = levelsOf(topic);
  for (const each of rules) {
    const { rule, filters, texts, qosMask } = each;
    if ((qosMask & (1 << qos)) === 0) continue;
    if (rule.retain !== 'any' && (rule.retain === 'retained') !== isRetained) continue;
    if (texts !== null ? texts.has(topic) : filters === null || filters.some((filter) => covers(filter, levels))) {
      return each;
    }
  }
  return null;
}

/** The first rule that decides about a subscription to `filter`, or null. */
export function firstForSubscribe(rules: readonly RuleForOne[], filter: string, qos: number): RuleForOne | null {
  const levels = levelsOf(filter);
  for (const each of rules) {
    const { isAllowing, filters, texts, qosMask } = each;
    if ((qosMask & (1 << qos)) === 0) continue;
    if (texts !== null) {
      if (texts.has(filter)) return each;
    } else if (filters === null || filters.some((own) => covers(own, levels))) {
      return each;
    } else if (!isAllowing && filters.some((own) => overlaps(own, levels))) {
      return each;
    }
  }
  return null;
}
