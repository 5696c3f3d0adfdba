/**
 * The rules that are in force, and what they mean for one client. One `Policy` per connection worker, one on the main
 * thread for explanations; all get the same rules, and whoever holds `ClientPermissions` asks the newest ones.
 *
 * Cost of a publication: a publisher that repeats its topic pays one comparison of numbers, one of strings (the same
 * object) and one of flags; one that goes through up to 1,024 topics a look into a map; nothing is allocated. Only the
 * first publication to a topic evaluates rules. Memory of a connection: nothing while the rules let it publish anything,
 * otherwise at most 1,024 topics of together 256 Ki characters, which it shares with the routes where they live.
 */
import type { AccessAction, AccessRule, Identity, Permissions } from '../../core/ports/access.ts';
import { CompiledRule, firstForPublish, firstForSubscribe, type RuleForOne } from './compiled-rule.ts';
import { isKeptFrom } from './system-topics.ts';

const topicsMax = 1_024;
const topicCharactersMax = 262_144;
/** Sets of rules that identities share; bounds a worker's memory when every identity has another set. */
const sharedSetsMax = 1_024;

/** What decided, for people. */
export interface Decision {
  readonly isAllowed: boolean;
  /** Null: no rule. */
  readonly rule: AccessRule | null;
  readonly why: string;
}

type RuleSets = Readonly<Record<AccessAction, readonly RuleForOne[]>>;

export class Policy {
  /** Grows with every change of what permissions depend on. */
  version = 0;
  readonly isDefaultAllow: boolean;
  /** Not null: the rules cannot be used, for this reason, and nothing is allowed. */
  problem: string | null = 'the rules are not known yet';
  private rules: readonly CompiledRule[] = [];
  private readonly shared = new Map<string, RuleSets>();

  constructor(isDefaultAllow: boolean) {
    this.isDefaultAllow = isDefaultAllow;
  }

  /** In the order in which they are asked. */
  replace(rules: readonly AccessRule[], problem: string | null): void {
    this.version++;
    this.problem = problem;
    this.rules = rules.map((rule) => new CompiledRule(rule));
    this.shared.clear();
  }

  /** The rules about `identity`, by action. */
  rulesFor(identity: Identity): RuleSets {
    const about: CompiledRule[] = [];
    let key = '';
    this.rules.forEach((rule, index) => {
      if (!rule.isAbout(identity)) return;
      about.push(rule);
      key += `${index},`;
    });
    if (about.some(({ isTemplate }) => isTemplate)) return setsOf(about, identity);
    let sets = this.shared.get(key);
    if (sets === undefined) {
      sets = setsOf(about, identity);
      if (this.shared.size >= sharedSetsMax) this.shared.clear();
      this.shared.set(key, sets);
    }
    return sets;
  }
}

function setsOf(rules: readonly CompiledRule[], identity: Identity): RuleSets {
  const filled = rules.map((rule) => rule.fill(identity)).filter((rule) => rule !== null);
  const of = (action: AccessAction): readonly RuleForOne[] => filled.filter(({ rule }) => isAboutAction(rule, action));
  return { connect: of('connect'), publish: of('publish'), subscribe: of('subscribe') };
}

/** A rule that names topics says nothing of connecting, and one that names retained messages nothing of subscribing. */
function isAboutAction({ actions, topics, qos, retain }: AccessRule, action: AccessAction): boolean {
  if (actions.length > 0 && !actions.includes(action)) return false;
  if (action === 'publish') return true;
  if (retain !== 'any') return false;
  return action === 'subscribe' || (topics.length === 0 && qos.length === 0);
}

const noRules: RuleSets = { connect: [], publish: [], subscribe: [] };

export class ClientPermissions implements Permissions {
  readonly identity: Identity;
  private readonly policy: Policy;
  private version = -1;
  private sets: RuleSets = noRules;
  /** Nothing to look at: all publications are allowed. */
  private publishesAll = false;
  private isRevoked = false;
  /** Topic → two bits (known, allowed) for each quality of service with and without retain. */
  private topics: Map<string, number> | null = null;
  private topicCharacters = 0;
  private lastTopic = '';
  private lastBits = 0;

  constructor(policy: Policy, identity: Identity) {
    this.policy = policy;
    this.identity = identity;
  }

  /** From now on nothing is allowed: the account is gone. */
  revoke(): void {
    this.isRevoked = true;
    this.version = -1;
  }

  mayPublish(topic: string, qos: number, isRetained: boolean): boolean {
    if (this.version !== this.policy.version) this.compile();
    if (this.publishesAll) return true;
    const shift = (qos + (isRetained ? 3 : 0)) * 2;
    if (topic !== this.lastTopic) {
      this.lastTopic = topic;
      this.lastBits = this.topics?.get(topic) ?? 0;
    }
    const known = (this.lastBits >> shift) & 3;
    if (known !== 0) return known === 3;
    const { isAllowed } = this.decidePublish(topic, qos, isRetained);
    this.remember(topic, this.lastBits | ((isAllowed ? 3 : 1) << shift));
    return isAllowed;
  }

  maySubscribe(filter: string, qos: number): boolean {
    return this.decideSubscribe(filter, qos).isAllowed;
  }

  mayConnect(): boolean {
    return this.decideConnect().isAllowed;
  }

  decideConnect(): Decision {
    return this.decide('connect', (rules) => rules[0] ?? null);
  }

  decidePublish(topic: string, qos: number, isRetained: boolean): Decision {
    return this.decide('publish', (rules) => firstForPublish(rules, topic, qos, isRetained));
  }

  decideSubscribe(filter: string, qos: number): Decision {
    const decision = this.decide('subscribe', (rules) => firstForSubscribe(rules, filter, qos));
    const { isAllowed, rule } = decision;
    if (!isAllowed || rule !== null || this.identity.isSuperuser || !isKeptFrom(this.identity, filter)) return decision;
    const why =
      'no rule matches, and topics below $SYS are for superusers and for clients on the machine of the broker';
    return { isAllowed: false, rule: null, why };
  }

  private decide(action: AccessAction, first: (rules: readonly RuleForOne[]) => RuleForOne | null): Decision {
    if (this.version !== this.policy.version) this.compile();
    const { policy, identity } = this;
    if (this.isRevoked) return { isAllowed: false, rule: null, why: 'the account is gone or switched off' };
    if (identity.isSuperuser) return { isAllowed: true, rule: null, why: 'the user is a superuser' };
    if (policy.problem !== null) return { isAllowed: false, rule: null, why: policy.problem };
    const found = first(this.sets[action]);
    if (found === null) {
      return { isAllowed: policy.isDefaultAllow, rule: null, why: 'no rule matches, so the default decides' };
    }
    const { rule, isAllowing } = found;
    return { isAllowed: isAllowing, rule, why: `the first rule that matches is "${rule.rule}"` };
  }

  private compile(): void {
    const { policy, identity } = this;
    this.version = policy.version;
    this.topics = null;
    this.topicCharacters = 0;
    this.lastTopic = '';
    this.lastBits = 0;
    const isOpen = !this.isRevoked && (identity.isSuperuser || policy.problem === null);
    this.sets = !isOpen || identity.isSuperuser ? noRules : policy.rulesFor(identity);
    this.publishesAll = isOpen && (identity.isSuperuser || allowsEverything(this.sets.publish, policy.isDefaultAllow));
  }

  private remember(topic: string, bits: number): void {
    this.lastBits = bits;
    this.topics ??= new Map();
    if (!this.topics.has(topic)) {
      this.topicCharacters += topic.length;
      if (this.topics.size >= topicsMax || this.topicCharacters > topicCharactersMax) {
        this.topics.clear();
        this.topicCharacters = topic.length;
      }
    }
    this.topics.set(topic, bits);
  }
}

function allowsEverything(rules: readonly RuleForOne[], isDefaultAllow: boolean): boolean {
  const [first] = rules;
  if (first === undefined) return isDefaultAllow;
  const { isAllowing, filters, texts, qosMask, rule } = first;
  return isAllowing && filters === null && texts === null && qosMask === 7 && rule.retain === 'any';
}
