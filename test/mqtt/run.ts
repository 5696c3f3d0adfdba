/**
 * Durable MQTT sessions, as long as asked for:
 *
 *   node test/mqtt/run.ts [--scenario kill] [--rounds 200] [--seed 1] [--load-ms 400] [--folder DIR]
 *   node test/mqtt/run.ts --scenario bridge [--rounds 200] [--seed 1] [--load-ms 400] [--folder DIR]
 *   node test/mqtt/run.ts --scenario move [--rounds 200] [--seed 1]
 *   node test/mqtt/run.ts --scenario offline [--sessions 10000] [--messages 10000] [--come-back 20] [--folder DIR]
 *   node test/mqtt/run.ts --scenario stored [--sessions 1000000] [--retained 0] [--come-back 1000] [--folder DIR]
 *
 * `kill`: kill -9 of the broker under load. Everything that was acknowledged has to arrive, in order, with QoS 2 once.
 * `bridge`: kill -9 of two brokers with a bridge between them, under load of QoS 2 in both directions. Everything has to arrive once.
 * `move`: sessions go from node to node of a cluster of three, and the nodes that they go from or to are killed meanwhile. The same holds.
 * `offline`: bytes written for messages that sessions which are away want, with one session and with many. Many may take a tenth more.
 * `stored`: how long a broker takes to serve that many sessions and retained values again after kill -9; some of them are asked for.
 *
 * Status 0: it held; 1: it did not.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bridgeKillRounds } from './bridge-rounds.ts';
import { mqttKillRounds } from './kill-rounds.ts';
import { moveRounds } from './move-rounds.ts';
import { type OfflineResult, offlineRun } from './offline-run.ts';
import { storedRun } from './stored-run.ts';

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'kill' },
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    'load-ms': { type: 'string', default: '400' },
    sessions: { type: 'string' },
    messages: { type: 'string', default: '10000' },
    'come-back': { type: 'string' },
    retained: { type: 'string', default: '0' },
    folder: { type: 'string', default: tmpdir() },
  },
});

const toleratedShare = 1.1;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function numberOf(flag: keyof typeof values, byDefault = 0, minimum = 1): number {
  const value = Number(values[flag] ?? byDefault);
  if (!Number.isInteger(value) || value < minimum)
    throw new Error(`Cannot use --${flag} "${values[flag]}": expected a whole number, at least ${minimum}`);
  return value;
}

async function kill(run: typeof mqttKillRounds | typeof bridgeKillRounds): Promise<boolean> {
  const data = mkdtempSync(join(values.folder, 'ringmq-mqtt-'));
  const began = performance.now();
  const { problems, ...counts } = await run({
    rounds: numberOf('rounds'),
    seed: numberOf('seed'),
    loadMsMax: numberOf('load-ms'),
    data,
    say: (line) => void process.stderr.write(`${line}\n`),
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  say(`${values.scenario}, seed ${values.seed}, ${seconds} s: ${JSON.stringify(counts)}`);
  say(problems.length === 0 ? 'everything held' : `${problems.length} PROBLEMS`);
  for (const problem of problems) say(`- ${problem}`);
  if (problems.length === 0) rmSync(data, { recursive: true });
  else say(`the data folder is left: ${data}`);
  return problems.length === 0;
}

async function move(): Promise<boolean> {
  const began = performance.now();
  const { problems, ...counts } = await moveRounds({
    rounds: numberOf('rounds'),
    seed: numberOf('seed'),
    say: (line) => void process.stderr.write(`${line}\n`),
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  say(`move, seed ${values.seed}, ${seconds} s: ${JSON.stringify(counts)}`);
  say(problems.length === 0 ? 'everything held' : `${problems.length} PROBLEMS`);
  for (const problem of problems) say(`- ${problem}`);
  return problems.length === 0;
}

async function offline(): Promise<boolean> {
  const [sessions, messages, back] = [numberOf('sessions', 10_000), numberOf('messages'), numberOf('come-back', 20)];
  const { folder } = values;
  const one = await offlineRun({ sessions: 1, messages, comeBack: 1, folder });
  describe(1, messages, one);
  const many = await offlineRun({ sessions, messages, comeBack: Math.min(back, sessions), folder });
  describe(sessions, messages, many);
  const ratio = many.bytesWritten / one.bytesWritten;
  const isKept = one.bytesWritten > 0 && ratio <= toleratedShare;
  say(`ratio of bytes ${ratio.toFixed(3)}, at most ${toleratedShare}: ${isKept ? 'held' : 'NOT held'}`);
  return isKept;
}

function describe(sessions: number, messages: number, result: OfflineResult): void {
  const { bytesWritten, publishS, subscribeS, comeBackS, received } = result;
  const each = (bytesWritten / messages).toFixed(0);
  say(`${sessions} sessions, ${messages} messages: ${bytesWritten} bytes written, ${each} a message`);
  say(`  subscribed in ${subscribeS.toFixed(1)} s, published in ${publishS.toFixed(2)} s`);
  say(`  ${received} received by those that came back, in ${comeBackS.toFixed(2)} s`);
}

async function stored(): Promise<boolean> {
  const sessions = numberOf('sessions', 1_000_000, 0);
  const retained = numberOf('retained', 0, 0);
  const samples = numberOf('come-back', 1_000);
  const { folder } = values;
  const { problems, ...figures } = await storedRun({ sessions, retained, samples, folder, say });
  say(JSON.stringify(figures));
  if (figures.retainedFound < Math.min(retained, samples)) problems.push('retained values are missing');
  say(problems.length === 0 ? 'everything held' : `${problems.length} PROBLEMS`);
  for (const problem of problems.slice(0, 20)) say(`- ${problem}`);
  return problems.length === 0;
}

const scenarios = new Map<string, () => Promise<boolean>>([
  ['kill', () => kill(mqttKillRounds)],
  ['bridge', () => kill(bridgeKillRounds)],
  ['move', move],
  ['offline', offline],
  ['stored', stored],
]);
const scenario = scenarios.get(values.scenario);
if (scenario === undefined)
  throw new Error(`Cannot run "${values.scenario}": expected ${[...scenarios.keys()].join(' or ')}`);
if (!(await scenario())) process.exitCode = 1;
