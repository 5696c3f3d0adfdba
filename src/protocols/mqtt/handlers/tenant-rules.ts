/**
 * The rules of the settings that can be about some tenants alone: names that are given to topics, and subscriptions that clients have without
 * asking. Made when the first client of a tenant comes. One per worker, on its thread.
 */
import { TopicRewrite } from '../../../core/routing/topic-rewrite.ts';
import type { MqttSettings } from '../settings.ts';
import { rewritePlaceholders } from '../settings-check.ts';

type AutoSubscription = MqttSettings['autoSubscribe'][number];

interface OfTenant {
  /** Null: nothing is renamed. */
  readonly rewrite: TopicRewrite | null;
  readonly autoSubscribe: readonly AutoSubscription[];
}

/** Tenants whose rules are kept; more are made anew. */
const tenantsKeptMax = 1_024;

export class TenantRules {
  readonly #settings: Pick<MqttSettings, 'topicRewrite' | 'autoSubscribe'>;
  readonly #known = new Map<string, OfTenant>();
  /** Of all tenants, where no rule names any. */
  readonly #shared: OfTenant | null;

  constructor(settings: Pick<MqttSettings, 'topicRewrite' | 'autoSubscribe'>) {
    const { topicRewrite, autoSubscribe } = settings;
    this.#settings = settings;
    const isShared = [...topicRewrite, ...autoSubscribe].every(({ tenants = [] }) => tenants.length === 0);
    this.#shared = isShared ? this.#make(null) : null;
  }

  of(tenant: string): OfTenant {
    if (this.#shared !== null) return this.#shared;
    let rules = this.#known.get(tenant);
    if (rules === undefined) {
      if (this.#known.size >= tenantsKeptMax) this.#known.clear();
      rules = this.#make(tenant);
      this.#known.set(tenant, rules);
    }
    return rules;
  }

  /** Rules without tenants are about all of them. They were checked at start. */
  #make(tenant: string | null): OfTenant {
    const isAbout = ({ tenants = [] }: { readonly tenants?: readonly string[] }): boolean =>
      tenants.length === 0 || (tenant !== null && tenants.includes(tenant));
    const rules = this.#settings.topicRewrite.filter(isAbout);
    return {
      rewrite: rules.length === 0 ? null : new TopicRewrite(rules, rewritePlaceholders),
      autoSubscribe: this.#settings.autoSubscribe.filter(isAbout),
    };
  }
}
