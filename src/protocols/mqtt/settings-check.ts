/** What the schema of the section `mqtt` cannot say. Pure; main thread, once at start. */
import type { SettingProblem } from '../../core/ports/protocol.ts';
import { filterError } from '../../core/routing/topic.ts';
import { RewriteError, TopicRewrite } from '../../core/routing/topic-rewrite.ts';
import { tenantNameError } from '../../core/tenants/tenant-names.ts';
import { checkBridges } from './bridge/bridge-check.ts';
import type { MqttSettings } from './settings.ts';
import { parsePath } from './state/subscription-path.ts';
import { checkBindings } from './streams/settings.ts';

/** Placeholders that the target of a rewrite rule may have. */
export const rewritePlaceholders = ['clientid', 'username'] as const;
/** Placeholders that an automatic subscription may have. */
const subscribePlaceholders = ['clientid', 'username', 'host'] as const;

export function checkMqttSettings({
  topicRewrite,
  autoSubscribe,
  tenants,
  bridges,
  bindings,
}: MqttSettings): readonly SettingProblem[] {
  const problems: SettingProblem[] = [];
  for (const [index, rule] of topicRewrite.entries()) {
    try {
      new TopicRewrite([rule], rewritePlaceholders);
    } catch (error) {
      if (!(error instanceof RewriteError)) throw error;
      problems.push({ path: ['topicRewrite', index], message: error.message });
    }
  }
  for (const [index, { filter }] of autoSubscribe.entries()) {
    const wrong = autoSubscribeError(filter);
    if (wrong === undefined) continue;
    const message = `Cannot use "${filter}" for "mqtt.autoSubscribe.${index}.filter": ${wrong}`;
    problems.push({ path: ['autoSubscribe', index, 'filter'], message });
  }
  noteTenants(['tenants', 'open'], tenants.open, problems);
  for (const [index, rule] of topicRewrite.entries())
    noteTenants(['topicRewrite', index, 'tenants'], rule.tenants ?? [], problems);
  for (const [index, rule] of autoSubscribe.entries())
    noteTenants(['autoSubscribe', index, 'tenants'], rule.tenants ?? [], problems);
  problems.push(...checkBridges(bridges), ...checkBindings(bindings));
  return problems;
}

function noteTenants(path: SettingProblem['path'], names: readonly string[], problems: SettingProblem[]): void {
  for (const [index, name] of names.entries()) {
    const wrong = tenantNameError(name);
    if (wrong === undefined) continue;
    const place = [...path, index];
    problems.push({
      path: place,
      message: `Cannot use ${JSON.stringify(name)} for "mqtt.${place.join('.')}": ${wrong}`,
    });
  }
}

function autoSubscribeError(filter: string): string | undefined {
  for (const [placeholder, name] of filter.matchAll(/\$\{([^}]*)\}/g)) {
    if (subscribePlaceholders.some((known) => known === name)) continue;
    return `${placeholder} is not known; there are \${${subscribePlaceholders.join('}, ${')}}`;
  }
  const parts = parsePath(filter.replaceAll(/\$\{[^}]*\}/g, 'x'));
  return parts === null ? 'the name of the group is not valid' : filterError(parts.filter);
}
