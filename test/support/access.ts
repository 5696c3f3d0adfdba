/** Access control as connection workers have it, for tests that run a protocol in their own thread. */
import type { AccessRule, Identity, LoginRequest } from '../../src/core/ports/access.ts';
import { createLogger, type Logger } from '../../src/observability/log.ts';
import { MetricsLayout, ThreadMetrics } from '../../src/observability/metrics.ts';
import { workerMetricDefinitions } from '../../src/observability/worker-metrics.ts';
import { CounterBlock, createCounters } from '../../src/shm/counters.ts';
import type {
  AccessToMain,
  PlainAccessChange,
  PlainLoginStep,
  WorkerAccessSettings,
} from '../../src/workers/access-messages.ts';
import { WorkerAccess } from '../../src/workers/runtime/access.ts';

export const openSettings: WorkerAccessSettings = {
  anonymous: 'always',
  mechanisms: ['scram', 'password', 'certificate', 'anonymous'],
  isDefaultAllow: true,
  certificateNeedsAccount: false,
  deniedPublish: 'drop',
  revokedSubscription: 'tell',
  countsConnects: false,
};

const nothing: PlainAccessChange = { rules: null, blocksSet: [], blocksRemoved: [], methods: null, accounts: [] };

export interface TestAccessOptions {
  readonly settings?: Partial<WorkerAccessSettings>;
  readonly metrics?: ThreadMetrics;
  readonly log?: Logger;
  /** What the main thread says of a login; as a default whoever gives a name is it. Null: nothing, the test says it later. */
  readonly answer?: (request: LoginRequest) => PlainLoginStep | null;
}

/** A real one, which lets everybody in and allows everything until it is told otherwise. */
export class TestAccess extends WorkerAccess {
  /** What the main thread would get. */
  readonly posted: AccessToMain[];

  constructor({ settings = {}, metrics, log, answer = acceptAll }: TestAccessOptions = {}) {
    const posted: AccessToMain[] = [];
    super({
      settings: { ...openSettings, ...settings },
      metrics: metrics ?? ownMetrics(),
      log: log ?? createLogger({ level: 'error', format: 'text' }),
      post: (message) => {
        posted.push(message);
        const step = message.type === 'login' ? answer(message.request) : null;
        if (message.type === 'login' && step !== null) this.handle({ type: 'login-step', id: message.id, step });
      },
    });
    this.posted = posted;
    this.setRules([]);
  }

  change(change: Partial<PlainAccessChange>): void {
    this.handle({ type: 'access-change', change: { ...nothing, ...change } });
  }

  setRules(list: readonly AccessRule[], problem: string | null = null): void {
    this.change({ rules: { list, problem }, methods: ['SCRAM-SHA-256'] });
  }
}

export function identityOf({ tenant, clientId, address, user = '' }: LoginRequest): Identity {
  const flags = { isSuperuser: false, groups: [], mechanism: 'password', certificateName: '' };
  return { tenant, clientId, address, user, ...flags };
}

function acceptAll(request: LoginRequest): PlainLoginStep {
  return { type: 'accepted', identity: identityOf(request), data: null };
}

function ownMetrics(): ThreadMetrics {
  const layout = new MetricsLayout([workerMetricDefinitions([])]);
  return new ThreadMetrics(layout, new CounterBlock(createCounters(layout.slotCount)));
}

/** A rule about everybody and everything, but for what is given. */
export function ruleOf(fields: Partial<AccessRule> & Pick<AccessRule, 'permission'>): AccessRule {
  const who = { users: [], groups: [], clients: [], addresses: [] };
  return {
    ...{ tenant: 'default', rule: 'rule', actions: [], ...who, topics: [], isExact: false, qos: [], retain: 'any' },
    ...fields,
  };
}
