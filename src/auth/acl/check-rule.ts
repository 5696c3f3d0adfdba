/**
 * What a rule must be like. Pure; main thread: rules from administrators and from the rule file are checked before they
 * are stored or used.
 */
import { type AccessRule, accessActions } from '../../core/ports/access.ts';
import { filterError } from '../../core/routing/topic.ts';
import { parseRange } from '../addresses.ts';
import { placeholderNames, withoutPlaceholders } from './templates.ts';

/** Returns what is wrong with `rule` and what is allowed, or undefined. */
export function ruleError(rule: AccessRule): string | undefined {
  const strange = rule.actions.find((action) => !accessActions.includes(action));
  if (strange !== undefined) return `the action "${strange}" is none of ${accessActions.join(', ')}`;
  for (const topic of rule.topics) {
    const problem = topicProblem(topic);
    if (problem !== undefined) return `the topic filter "${topic}" cannot be used: ${problem}`;
  }
  const range = rule.addresses.find((each) => parseRange(each) === null);
  if (range !== undefined) return `"${range}" is no IP address and no range like 10.0.0.0/8`;
  if (rule.qos.some((qos) => qos !== 0 && qos !== 1 && qos !== 2)) return 'a quality of service is 0, 1 or 2';
  const isAboutTopics = rule.topics.length > 0 || rule.qos.length > 0 || rule.retain !== 'any';
  if (isAboutTopics && rule.actions.includes('connect')) {
    return 'a rule about connecting has no topics, no quality of service and no retain';
  }
  if (rule.retain !== 'any' && rule.actions.includes('subscribe')) {
    return 'a rule about retained publications is not about subscribing';
  }
  if (rule.isExact && rule.topics.length === 0) return 'an exact rule needs topics';
  return undefined;
}

function topicProblem(topic: string): string | undefined {
  const plain = withoutPlaceholders(topic);
  if (plain === null) {
    return `a placeholder is one of ${placeholderNames.map((name) => `\${${name}}`).join(', ')}`;
  }
  return filterError(plain);
}
