/**
 * Loads the configuration: defaults, the file over them, environment variables over the file, flags over these. Main
 * thread, once at start; workers get the result as plain data.
 *
 * Every source is checked on its own, so a mistake in the file stops the start even where a flag hides it, and one start
 * names all mistakes.
 */
import { availableParallelism } from 'node:os';
import { BrokerError } from '../std/errors.ts';
import { parseAddress } from './address.ts';
import { checkNode, readText } from './check.ts';
import { type Environment, fileVariable, readEnvironment } from './environment.ts';
import { readFlags } from './flags.ts';
import { describeExpected, formatPath, type SettingPath, type SettingSchema, walkSchema } from './json-schema.ts';
import { checkClientLimits } from './limits-schema.ts';
import { checkListener } from './listener-schema.ts';
import {
  type ConfigurationPart,
  createSchema,
  defaultListener,
  type NodeSettings,
  type StoragePart,
  workerCountMax,
} from './schema.ts';
import { type MapNode, nodeOf, type Origin, Problems, type SourceEntry, type SourceNode } from './source.ts';
import { readYamlFile } from './yaml-file.ts';

export interface ConfigurationSources {
  /** YAML file. Overridden by the flag `--config`, which overrides the variable `RINGMQ_CONFIG`. */
  readonly file?: string | undefined;
  /** Usually `process.env`. */
  readonly environment: Environment;
  /** The command line behind `start`. */
  readonly flags: readonly string[];
  /** Settings of a program that starts the broker, as in the file; they win over everything. */
  readonly settings?: unknown;
  /** The registered protocols, in the order of their default listeners. */
  readonly parts: readonly ConfigurationPart[];
  /** The storage adapters, the default first. */
  readonly adapters?: readonly StoragePart[];
}

export interface EffectiveConfiguration {
  /** The node's own settings, complete. Plain data. */
  readonly node: NodeSettings;
  /** The section of each protocol, complete, by its name. Plain data. */
  readonly protocols: ReadonlyMap<string, unknown>;
  /** Where each value came from, by its path: `limits.connectionsMax`, `listeners.0.address`. */
  readonly origins: ReadonlyMap<string, Origin>;
}

const defaultOrigin: Origin = { kind: 'default' };

/** @throws BrokerError with code CONFIG_INVALID; its message has one line for each problem. */
export async function loadConfiguration(sources: ConfigurationSources): Promise<EffectiveConfiguration> {
  const { parts, environment } = sources;
  const schema = createSchema(parts, sources.adapters);
  const problems = new Problems();
  const flags = readFlags(schema, parts, sources.flags, problems);
  const file = flags.file ?? sources.file ?? environment[fileVariable];
  const merger = new Merger(schema, parts, problems);
  if (file !== undefined) merger.addTree(await readYamlFile(file, problems));
  for (const { name, path, text } of readEnvironment(schema, environment, problems)) {
    merger.addText(path, text, { kind: 'environment', name });
  }
  for (const { name, target, text } of flags.settings) {
    const origin: Origin = { kind: 'flag', name };
    if ('protocol' in target) merger.addListener(target.protocol, target.transport, text, origin);
    else merger.addText(target, text, origin);
  }
  if (sources.settings !== undefined) merger.addTree(nodeOf(sources.settings, { kind: 'program' }));
  failIfAny(problems);
  return merger.finish();
}

/** Number of connection workers that `workers` stands for. */
export function resolveWorkers(workers: NodeSettings['workers']): number {
  return workers === 'auto' ? Math.min(workerCountMax, availableParallelism()) : workers;
}

function failIfAny(problems: Problems): void {
  if (problems.count === 0) return;
  const count = problems.count === 1 ? '1 problem' : `${problems.count} problems`;
  throw new BrokerError('CONFIG_INVALID', `Cannot use the configuration: ${count}\n${problems.messages.join('\n')}`);
}

/** Lays checked sources over each other. */
class Merger {
  private readonly schema: SettingSchema;
  private readonly parts: readonly ConfigurationPart[];
  private readonly problems: Problems;
  private readonly schemas = new Map<string, SettingSchema>();
  private root: SourceNode = { kind: 'map', entries: new Map(), origin: defaultOrigin };

  constructor(schema: SettingSchema, parts: readonly ConfigurationPart[], problems: Problems) {
    this.schema = schema;
    this.parts = parts;
    this.problems = problems;
    walkSchema(schema, (path, child) => this.schemas.set(formatPath(path), child));
  }

  addTree(tree: SourceNode | undefined): void {
    const checked = tree && checkNode(this.schema, tree, [], this.problems);
    if (checked !== undefined) this.root = overlay(this.root, checked);
  }

  addText(path: SettingPath, text: string, origin: Origin): void {
    const schema = this.schemas.get(
      formatPath(path.map((step) => (typeof step === 'number' ? 0 : step))),
    ) as SettingSchema;
    const node = checkNode(schema, readText(schema, text, origin), path, this.problems);
    if (node !== undefined) this.root = this.assign(this.schema, this.root, path, node, []);
  }

  /** Sets the address of the protocol's first listener of this transport, or gives it one. */
  addListener(protocol: string, transport: string, text: string, origin: Origin): void {
    const listeners = this.child(this.root, 'listeners') ?? this.defaultOf('listeners');
    const items = listeners?.kind === 'list' ? listeners.items : [];
    const found = items.findIndex(
      (item) =>
        scalarOf(this.child(item, 'protocol')) === protocol &&
        (scalarOf(this.child(item, 'transport')) ?? 'tcp') === transport,
    );
    const address = transport === 'unix' && !text.startsWith('unix:') ? `unix:${text}` : text;
    if (found !== -1) {
      this.addText(['listeners', found, 'address'], address, origin);
      return;
    }
    const part = this.parts.find(({ name }) => name === protocol) as ConfigurationPart;
    const name = transport === 'tcp' ? part.name : `${part.name}-${transport}`;
    const listener = JSON.stringify({ ...defaultListener(part), name, transport, address });
    this.addText(['listeners', items.length], listener, origin);
  }

  finish(): EffectiveConfiguration {
    const origins = new Map<string, Origin>();
    const values = this.complete(this.schema, this.root, [], origins) as Record<string, unknown>;
    failIfAny(this.problems);
    const protocols = new Map(this.parts.map(({ name }) => [name, values[name]]));
    const own = Object.entries(values).filter(([name]) => !protocols.has(name));
    const node = Object.fromEntries(own) as NodeSettings;
    const originOf = (path: SettingPath): Origin => origins.get(formatPath(path)) ?? defaultOrigin;
    checkTogether(node, originOf, this.problems);
    for (const part of this.parts) {
      for (const { path, message } of part.checkSettings?.(values[part.name]) ?? []) {
        this.problems.add(originOf([part.name, ...path]), message);
      }
    }
    failIfAny(this.problems);
    return { node, protocols, origins };
  }

  /** `tree` with `node` at `path`; sections and default lists on the way come into being. */
  private assign(
    schema: SettingSchema,
    tree: SourceNode | undefined,
    rest: SettingPath,
    node: SourceNode,
    done: SettingPath,
  ): SourceNode {
    const [step, ...further] = rest;
    if (step === undefined) return tree === undefined ? node : overlay(tree, node);
    const path = [...done, step];
    const child = (schema.items ?? schema.properties?.[step] ?? {}) as SettingSchema;
    if (typeof step === 'string') {
      const map: MapNode = tree?.kind === 'map' ? tree : { kind: 'map', entries: new Map(), origin: node.origin };
      const entry = map.entries.get(step);
      const inner = this.assign(child, entry?.node ?? this.defaultOf(formatPath(path)), further, node, path);
      return {
        ...map,
        entries: new Map(map.entries).set(step, { keyOrigin: entry?.keyOrigin ?? node.origin, node: inner }),
      };
    }
    const items = tree?.kind === 'list' ? [...tree.items] : [];
    if (step > items.length) {
      this.problems.add(
        node.origin,
        `Cannot set entry ${step} of "${formatPath(done)}": it has ${items.length} entries`,
      );
    } else items[step] = this.assign(child, items[step], further, node, path);
    return { kind: 'list', items, origin: tree?.origin ?? node.origin };
  }

  /** A list that comes from the default, so that single entries of it can be changed. */
  private defaultOf(dotted: string): SourceNode | undefined {
    const schema = this.schemas.get(dotted);
    return schema?.type === 'array' && schema.default !== undefined ? nodeOf(schema.default, defaultOrigin) : undefined;
  }

  private child(node: SourceNode, key: string): SourceNode | undefined {
    return node.kind === 'map' ? node.entries.get(key)?.node : undefined;
  }

  /** Plain data with every default, and the origin of each value. Undefined for what is optional and absent. */
  private complete(
    schema: SettingSchema,
    given: SourceNode | undefined,
    path: SettingPath,
    origins: Map<string, Origin>,
  ): unknown {
    const node = given ?? (schema.default === undefined ? undefined : nodeOf(schema.default, defaultOrigin));
    if (node?.kind !== 'scalar' && schema.type === 'object') return this.completeMap(schema, node, path, origins);
    if (node === undefined) return undefined;
    origins.set(formatPath(path), node.origin);
    if (node.kind === 'scalar') return node.value;
    if (node.kind === 'map') return undefined;
    return node.items.map((item, index) => this.complete(schema.items ?? {}, item, [...path, index], origins));
  }

  private completeMap(
    schema: SettingSchema,
    node: SourceNode | undefined,
    path: SettingPath,
    origins: Map<string, Origin>,
  ): unknown {
    const values: [string, unknown][] = [];
    for (const [key, child] of Object.entries(schema.properties ?? {})) {
      const given = node && this.child(node, key);
      const isRequired = schema.required?.includes(key) === true;
      if (given === undefined && !isRequired && child.default === undefined) continue;
      const value = this.complete(child, given, [...path, key], origins);
      if (value === undefined) this.noteMissing(child, [...path, key], node?.origin ?? defaultOrigin);
      values.push([key, value]);
    }
    return Object.fromEntries(values);
  }

  private noteMissing(schema: SettingSchema, path: SettingPath, origin: Origin): void {
    const message = `the setting "${formatPath(path)}" is missing: expected ${describeExpected(schema)}`;
    this.problems.add(origin, message);
  }
}

/** Maps are joined key by key; everything else is replaced. */
function overlay(below: SourceNode, above: SourceNode): SourceNode {
  if (below.kind !== 'map' || above.kind !== 'map') return above;
  const entries = new Map<string, SourceEntry>(below.entries);
  for (const [key, entry] of above.entries) {
    const present = entries.get(key);
    entries.set(key, present === undefined ? entry : { ...entry, node: overlay(present.node, entry.node) });
  }
  return { kind: 'map', entries, origin: above.origin };
}

function scalarOf(node: SourceNode | undefined): unknown {
  return node?.kind === 'scalar' ? node.value : undefined;
}

/** What no setting can be wrong about alone. */
function checkTogether(node: NodeSettings, originOf: (path: SettingPath) => Origin, problems: Problems): void {
  const names = new Set<string>();
  const addresses = new Map([[node.http.address, 'http.address']]);
  for (const [index, { name, address }] of node.listeners.entries()) {
    const path = formatPath(['listeners', index]);
    if (names.has(name))
      problems.add(originOf([path, 'name']), `Cannot use "${name}" for "${path}.name": another listener has this name`);
    names.add(name);
    const other = parseAddress(address)?.port === 0 ? undefined : addresses.get(address);
    if (other !== undefined)
      problems.add(
        originOf([path, 'address']),
        `Cannot use "${address}" for "${path}.address": "${other}" has it already`,
      );
    addresses.set(address, `${path}.address`);
  }
  for (const [index, listener] of node.listeners.entries()) {
    checkListener(listener, index, node.tls, originOf, problems);
  }
  checkClientLimits(node.limits, node.listeners, originOf, problems);
  checkCluster(node.cluster, originOf, problems);
  const { restartBackoffMs, restartBackoffMaxMs } = node.supervision;
  if (restartBackoffMs > restartBackoffMaxMs) {
    const message = `Cannot use ${restartBackoffMs} for "supervision.restartBackoffMs": "supervision.restartBackoffMaxMs" is ${restartBackoffMaxMs}`;
    problems.add(originOf(['supervision', 'restartBackoffMs']), message);
  }
}

function checkCluster(
  { address, join, tls }: NodeSettings['cluster'],
  originOf: (path: SettingPath) => Origin,
  problems: Problems,
): void {
  if (address === undefined && join.length > 0) {
    const message = 'Cannot use "cluster.join": "cluster.address" is missing, and nobody could reach the node';
    problems.add(originOf(['cluster', 'join']), message);
  }
  const files = Object.values(tls).filter((file) => file !== '');
  if (files.length > 0 && files.length < 3) {
    const message = 'Cannot use "cluster.tls": "ca", "certificate" and "key" belong together';
    problems.add(originOf(['cluster', 'tls', 'ca']), message);
  }
}
