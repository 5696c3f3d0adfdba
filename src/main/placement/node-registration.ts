/**
 * Keeps this broker registered as a node of the cluster: registers it, says that it lives, unregisters it at the end.
 * Main thread; owned by the broker.
 */
import { type CommandResult, PlacementError, type PlacementNode } from '../../core/ports/placement.ts';
import type { Logger } from '../../observability/log.ts';

/** Without a sign of life for this long the node leaves service. */
const TTL_MS = 10_000;
const HEARTBEAT_MS = TTL_MS / 4;
const CALL_TIMEOUT_MS = 3_000;
/** Nobody waits longer for it at the end: the node's time runs out by itself. */
const UNREGISTER_TIMEOUT_MS = 500;

export interface RegistrationOptions {
  readonly placement: PlacementNode;
  readonly node: string;
  /** Name of the listener and `host:port`. */
  readonly addresses: readonly (readonly [string, string])[];
  readonly log: Logger;
}

export class NodeRegistration {
  private readonly options: RegistrationOptions;
  private timer: NodeJS.Timeout | null = null;
  /** Of the present registration; 0 while there is none. */
  private epoch = 0;
  private isBusy = false;
  /** Another incarnation took the name. */
  private isFenced = false;

  constructor(options: RegistrationOptions) {
    this.options = options;
    void this.beat();
    this.timer = setInterval(() => void this.beat(), HEARTBEAT_MS);
  }

  /** Incarnation of the node: of the present registration; 0 while there is none. */
  get nodeEpoch(): number {
    return this.epoch;
  }

  /** Why the node is out of service; null while it is in service or on its way. */
  problem(): string | null {
    return this.isFenced ? 'another node registered under the same name' : null;
  }

  /** Takes the node out of service. */
  async stop(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    const { epoch, options } = this;
    this.epoch = 0;
    if (epoch === 0) return;
    const command = { type: 'node-unregister', node: options.node, epoch } as const;
    try {
      await options.placement.execute(command, { requestId: null, timeoutMs: UNREGISTER_TIMEOUT_MS });
    } catch (error) {
      if (!(error instanceof PlacementError)) throw error;
      options.log.debug('Node was not unregistered', { reason: error.message });
    }
  }

  private async beat(): Promise<void> {
    if (this.isBusy || this.isFenced) return;
    this.isBusy = true;
    const { log } = this.options;
    try {
      if (this.epoch === 0) await this.register();
      else this.judge(await this.sayAlive());
    } catch (error) {
      if (!(error instanceof PlacementError)) throw error;
      // The next beat tries again; without a leader nobody's time runs out either.
      log.debug('Node registration waits', { reason: error.message });
    } finally {
      this.isBusy = false;
    }
  }

  private async register(): Promise<void> {
    const { placement, node, addresses, log } = this.options;
    const command = { type: 'node-register', node, addresses, roles: ['broker'], rack: '', ttlMs: TTL_MS } as const;
    const result = await placement.execute(command, { requestId: null, timeoutMs: CALL_TIMEOUT_MS });
    if (result.type !== 'node') {
      log.error('Node cannot be registered', {
        node,
        reason: result.type === 'refused' ? result.message : result.type,
      });
      return;
    }
    if (this.timer === null) return; // Stopped meanwhile: its time runs out by itself.
    this.epoch = result.epoch;
    log.debug('Node is registered', { node, epoch: result.epoch });
  }

  private sayAlive(): Promise<CommandResult> {
    const { placement, node } = this.options;
    return placement.heartbeat(node, this.epoch, { timeoutMs: CALL_TIMEOUT_MS });
  }

  private judge(result: CommandResult): void {
    if (result.type !== 'refused') return;
    const { node, log } = this.options;
    if (result.code === 'NODE_FENCED') {
      this.isFenced = true;
      log.error('Node is out of service: another one registered under its name', { node, epoch: this.epoch });
      return;
    }
    log.warn('Node was taken out of service and registers again', { node, reason: result.message });
    this.epoch = 0;
  }
}
