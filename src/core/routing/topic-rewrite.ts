/**
 * Rules that give topics and filters another name before they are used: source filter, pattern, target. The first rule
 * whose source and pattern match decides. Pure; one instance per connection worker, called by protocols.
 */

import { filterError, matches, TOPIC_LEVELS_MAX } from './topic.ts';
import { PatternError, TopicPattern } from './topic-pattern.ts';

export interface RewriteRule {
  readonly action: 'publish' | 'subscribe' | 'all';
  /** Filter that the name has to match; a filter is compared as if it were a topic. */
  readonly source: string;
  /** Pattern that the name has to match, see `TopicPattern`. */
  readonly pattern: string;
  /** The new name, with `$1` to `$9` for the groups of the pattern and `${…}` for values of the client. */
  readonly target: string;
}

/** Names longer than this are not rewritten but refused, in UTF-16 code units: the bound of the work per name. */
export const REWRITE_LENGTH_MAX = 4_096;

interface Compiled {
  readonly source: string;
  readonly pattern: TopicPattern;
  readonly parts: readonly TargetPart[];
}

type TargetPart =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'group'; readonly group: number }
  | { readonly kind: 'value'; readonly name: string };

/** What is known of a client, by the name of its placeholder; undefined where the client has none. */
export type ClientValues = (name: string) => string | undefined;

export class RewriteError extends Error {}

export class TopicRewrite {
  private readonly publishRules: Compiled[] = [];
  private readonly subscribeRules: Compiled[] = [];

  /**
   * @param names the placeholders that a target may have
   * @throws RewriteError that names the rule and says what is wrong with it
   */
  constructor(rules: readonly RewriteRule[], names: readonly string[]) {
    for (const rule of rules) {
      const compiled = compile(rule, names, `Cannot use the rule for "${rule.source}"`);
      if (rule.action !== 'subscribe') this.publishRules.push(compiled);
      if (rule.action !== 'publish') this.subscribeRules.push(compiled);
    }
  }

  get hasPublishRules(): boolean {
    return this.publishRules.length > 0;
  }

  get hasSubscribeRules(): boolean {
    return this.subscribeRules.length > 0;
  }

  /** The topic to use instead, `topic` itself when no rule matches; null when it cannot be rewritten. */
  topic(topic: string, values: ClientValues): string | null {
    return apply(this.publishRules, topic, values);
  }

  /** The filter to use instead, likewise. Both may turn out not to be valid. */
  filter(filter: string, values: ClientValues): string | null {
    return apply(this.subscribeRules, filter, values);
  }
}

function compile(rule: RewriteRule, names: readonly string[], prefix: string): Compiled {
  const wrong = filterError(rule.source);
  if (wrong !== undefined) throw new RewriteError(`${prefix}: ${wrong}`);
  try {
    const pattern = new TopicPattern(rule.pattern);
    return { source: rule.source, pattern, parts: targetParts(rule.target, pattern.groupCount, names, prefix) };
  } catch (error) {
    if (error instanceof PatternError) throw new RewriteError(`${prefix}: ${error.message}`, { cause: error });
    throw error;
  }
}

function targetParts(target: string, groupCount: number, names: readonly string[], prefix: string): TargetPart[] {
  const parts: TargetPart[] = [];
  let end = 0;
  for (const found of target.matchAll(/\$(\d)|\$\{([^}]*)\}/g)) {
    if (found.index > end) parts.push({ kind: 'text', text: target.slice(end, found.index) });
    end = found.index + found[0].length;
    if (found[1] !== undefined) {
      const group = Number(found[1]);
      if (group >= groupCount) throw new RewriteError(`${prefix}: the pattern has no group ${found[0]}`);
      parts.push({ kind: 'group', group });
    } else {
      const name = found[2] as string;
      if (!names.includes(name)) {
        const known = names.map((one) => `\${${one}}`).join(', ');
        throw new RewriteError(`${prefix}: "${found[0]}" is not known; there are ${known}`);
      }
      parts.push({ kind: 'value', name });
    }
  }
  if (end < target.length) parts.push({ kind: 'text', text: target.slice(end) });
  return parts;
}

function apply(rules: readonly Compiled[], name: string, values: ClientValues): string | null {
  if (rules.length === 0) return name;
  // Walks over levels and characters are bounded, whoever chose the name.
  if (name.length > REWRITE_LENGTH_MAX) return null;
  if (name.split('/', TOPIC_LEVELS_MAX + 1).length > TOPIC_LEVELS_MAX) return null;
  for (const { source, pattern, parts } of rules) {
    if (!matches(source, name)) continue;
    const groups = pattern.match(name);
    if (groups === null) continue;
    return build(parts, groups, values);
  }
  return name;
}

function build(
  parts: readonly TargetPart[],
  groups: readonly (string | undefined)[],
  values: ClientValues,
): string | null {
  let text = '';
  for (const part of parts) {
    if (part.kind === 'text') text += part.text;
    else if (part.kind === 'group') text += groups[part.group] ?? '';
    else {
      const value = literalValue(values(part.name));
      if (value === null) return null;
      text += value;
    }
  }
  return text;
}

/**
 * A client's value as part of one level of a topic or filter. Null when it is absent, empty, or would mean something
 * else there: wildcards and separators would give the client more than its own.
 */
export function literalValue(value: string | undefined): string | null {
  return value === undefined || value === '' || /^\$|[+#/\0]/.test(value) ? null : value;
}
