/**
 * What the schema of `mqtt.bridges` cannot say: addresses, filters, prefixes, files, and rules under which every message would come
 * back. Main thread, once at start; looks whether files are there and can be read.
 */
import { accessSync, constants } from 'node:fs';
import type { SettingProblem } from '../../../core/ports/protocol.ts';
import { filterError } from '../../../core/routing/topic.ts';
import { parsePath } from '../state/subscription-path.ts';
import { parseServerAddress } from './server-address.ts';
import type { BridgeRule, BridgeSettings } from './settings.ts';
import { filtersOverlap, mapFilter } from './topic-mapping.ts';

type Note = (path: readonly (string | number)[], value: string, reason: string) => void;

/** Paths of the problems begin with `bridges`. */
export function checkBridges(bridges: readonly BridgeSettings[]): readonly SettingProblem[] {
  const problems: SettingProblem[] = [];
  const names = new Set<string>();
  const sessions = new Map<string, string>();
  for (const [index, bridge] of bridges.entries()) {
    const note: Note = (path, value, reason) => {
      const place = ['bridges', index, ...path];
      problems.push({ path: place, message: `Cannot use ${value} for "mqtt.${place.join('.')}": ${reason}` });
    };
    if (names.has(bridge.name)) note(['name'], quote(bridge.name), 'another bridge has this name');
    names.add(bridge.name);
    checkConnection(bridge, note);
    checkSession(bridge, sessions, note);
    for (const [at, rule] of bridge.out.entries()) checkOut(rule, ['out', at], note);
    for (const [at, rule] of bridge.in.entries()) checkIn(rule, ['in', at], note);
    if (bridge.out.length + bridge.in.length === 0) note(['out'], '[]', 'the bridge has neither "out" nor "in"');
    else checkEcho(bridge, note);
  }
  return problems;
}

function checkConnection(bridge: BridgeSettings, note: Note): void {
  const { servers, tls, password, passwordFile, username, version, reconnectMs, reconnectMaxMs } = bridge;
  let isSecure = false;
  for (const [at, server] of servers.entries()) {
    const address = parseServerAddress(server);
    if (address === undefined) note(['servers', at], quote(server), 'expected mqtt://host:port or mqtts://host:port');
    else if (address.isSecure) isSecure = true;
  }
  if (password !== '' && passwordFile !== '') {
    note(['passwordFile'], quote(passwordFile), 'there is a "password" as well');
  }
  const hasPassword = password !== '' || passwordFile !== '';
  // Before MQTT 5 a password needs a user name [MQTT-3.1.2-22].
  if (hasPassword && username === '' && version !== '5') {
    note(['username'], '""', `MQTT ${version} has no password without a user name`);
  }
  if (reconnectMs > reconnectMaxMs) note(['reconnectMs'], `${reconnectMs}`, `"reconnectMaxMs" is ${reconnectMaxMs}`);
  checkFile(['passwordFile'], passwordFile, note);
  const files = [tls.ca, tls.certificate, tls.key, tls.keyPasswordFile];
  if (!isSecure && files.some((file) => file !== '')) {
    note(['tls'], 'these files', 'none of "servers" begins with mqtts://');
  }
  if ((tls.certificate === '') !== (tls.key === '')) {
    note(['tls', tls.key === '' ? 'key' : 'certificate'], '""', '"certificate" and "key" belong together');
  }
  for (const name of ['ca', 'certificate', 'key', 'keyPasswordFile'] as const)
    checkFile(['tls', name], tls[name], note);
}

function checkFile(path: readonly string[], file: string, note: Note): void {
  if (file === '') return;
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    note(path, quote(file), `it cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`);
  }
}

/** Two bridges under one client id would throw each other out for ever. */
function checkSession({ name, clientId, servers }: BridgeSettings, sessions: Map<string, string>, note: Note): void {
  if (clientId === '') return;
  for (const server of servers) {
    const key = `${server}\0${clientId}`;
    const other = sessions.get(key);
    if (other !== undefined && other !== name) {
      note(['clientId'], quote(clientId), `bridge "${other}" has it already at ${server}`);
      return;
    }
    sessions.set(key, name);
  }
}

function checkOut(rule: BridgeRule, path: readonly (string | number)[], note: Note): void {
  const wrong = rule.filter.startsWith('$share/') ? 'the broker itself has no group' : filterError(rule.filter);
  if (wrong === undefined) checkRule(rule, rule.filter, path, 'remote', note);
  else note([...path, 'filter'], quote(rule.filter), wrong);
}

function checkIn(rule: BridgeRule, path: readonly (string | number)[], note: Note): void {
  const parts = parsePath(rule.filter);
  const wrong = parts === null ? 'the name of the group is not valid' : filterError(parts.filter);
  if (parts !== null && wrong === undefined) checkRule(rule, parts.filter, path, 'local', note);
  else note([...path, 'filter'], quote(rule.filter), wrong ?? '');
}

function checkRule(
  rule: BridgeRule,
  filter: string,
  path: readonly (string | number)[],
  side: 'remote' | 'local',
  note: Note,
): void {
  const wild = (['removePrefix', 'addPrefix'] as const).find((name) => /[+#\0]/.test(rule[name]));
  if (wild !== undefined) {
    note([...path, wild], quote(rule[wild]), 'a prefix has no wildcards');
    return;
  }
  const mapped = mapFilter(filter, rule);
  if (mapped === null) {
    note([...path, 'removePrefix'], quote(rule.removePrefix), `no topic of "${filter}" begins with it`);
    return;
  }
  // `$` topics are the server's (4.7.2).
  const hidden = mapped.startsWith('$') ? `the ${side} topics would begin with "$"` : undefined;
  const wrong = filterError(mapped) ?? hidden;
  if (wrong !== undefined) note([...path, 'addPrefix'], quote(rule.addPrefix), wrong);
}

/** MQTT 5 subscribes with "no local", MQTT 3 needs the bridge bit; without either the remote broker returns what it is sent. */
function checkEcho(bridge: BridgeSettings, note: Note): void {
  if (bridge.version === '5' || bridge.bridgeBit) return;
  const echo = echoOf(bridge);
  if (echo === null) return;
  note(['bridgeBit'], 'false', `${echo}; MQTT ${bridge.version} has nothing else against that`);
}

/** Says which rules make the remote broker return what it is sent, unless it is told otherwise; null: none do. */
export function echoOf({ out, in: incoming }: Pick<BridgeSettings, 'out' | 'in'>): string | null {
  for (const sent of out) {
    const remote = mapFilter(sent.filter, sent);
    for (const fetched of incoming) {
      const filter = parsePath(fetched.filter)?.filter;
      if (remote === null || filter === undefined || !filtersOverlap(remote, filter)) continue;
      return `what "${sent.filter}" sends would come back through "${fetched.filter}"`;
    }
  }
  return null;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
