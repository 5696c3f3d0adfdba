// Runs the interoperability tests of eclipse/paho.mqtt.testing against RingMQ, `npm run test:paho -- DIR`. The words are
// `[--workers N] DIR [name …]`: DIR is a checkout of that project or its folder `interoperability`; the names of tests
// (`5:test_basic`, or a part of it) narrow the choice. Every test has a Python process and a broker of its own, since the
// tests share client ids and leave retained messages behind, and a time limit, since some of them wait for ever for an
// answer that does not come.
//
// The project's own client gives an answer half a second, and in two tests (request_response, subscribe_options) it
// publishes on one connection without waiting for the SUBACK of another, which is a race once these are on different
// threads (with one worker it is none). So a test that fails is run once more, alone, and the table says so.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BrokerProcess } from '../test/support/broker-process.ts';

const { values, positionals } = parseArgs({
  options: { workers: { type: 'string', default: '2' } },
  allowPositionals: true,
});
const [path, ...wanted] = positionals;
const workers = Number(values.workers);

const timeLimitMs = 60_000;
const atOnceMax = 4;

/** What the tests expect the broker to be configured for. */
const settings = {
  'mqtt.keepAliveMaxS': 60,
  'mqtt.subscribeDenied': ['test/nosubscribe'],
  'mqtt.receiveMaximum': 20,
};

const tests = {
  '3.1.1': [
    ...['testBasic', 'test_retained_messages', 'test_zero_length_clientid', 'test_offline_message_queueing'],
    ...['test_overlapping_subscriptions', 'test_keepalive', 'test_redelivery_on_reconnect', 'test_subscribe_failure'],
    ...['test_dollar_topics', 'test_unsubscribe'],
  ],
  '5': [
    ...['test_basic', 'test_retained_message', 'test_will_message', 'test_zero_length_clientid'],
    ...['test_offline_message_queueing', 'test_overlapping_subscriptions', 'test_keepalive'],
    ...['test_redelivery_on_reconnect', 'test_subscribe_failure', 'test_dollar_topics', 'test_unsubscribe'],
    ...['test_session_expiry', 'test_user_properties', 'test_payload_format', 'test_publication_expiry'],
    ...['test_subscribe_options', 'test_assigned_clientid', 'test_subscribe_identifiers', 'test_request_response'],
    ...['test_client_topic_alias', 'test_server_topic_alias', 'test_maximum_packet_size', 'test_server_keep_alive'],
    ...['test_flow_control1', 'test_flow_control2', 'test_will_delay', 'test_shared_subscriptions'],
  ],
} as const;

type Version = keyof typeof tests;

/** Not the keys of the table: those that look like whole numbers come first there. */
const versions: readonly Version[] = ['3.1.1', '5'];

/**
 * The module of 3.1.1 reads its options from the command line that unittest reads too, and refuses them there; so its
 * variables are set from outside.
 */
const wrapper311 = `
import sys, unittest, client_test as c
c.host, c.port = "127.0.0.1", int(sys.argv[1])
c.topics = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
c.wildtopics = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
c.nosubscribe_topics = ("test/nosubscribe",)
unittest.main(module=c, argv=["x", sys.argv[2]], verbosity=2)
`;

interface Outcome {
  readonly version: Version;
  readonly name: string;
  readonly verdict: 'pass' | 'pass, second run' | 'fail' | 'time limit';
  readonly seconds: number;
  /** What test and broker said, for those that fail. */
  readonly report: string;
}

async function runOne(folder: string, version: Version, name: string): Promise<Outcome> {
  const broker = await BrokerProcess.start({ settings, workers });
  const startedMs = performance.now();
  try {
    const { isOver, code, output } = await runPython(folder, version, name, broker.port());
    const seconds = (performance.now() - startedMs) / 1000;
    const log = broker.log;
    const failure = await broker.stop().then(
      () => '',
      (error: Error) => error.message,
    );
    // A test that was not found, or that was skipped, is none that passed.
    const isPass = code === 0 && /^Ran 1 test/m.test(output) && !/skipped/.test(output) && failure === '';
    const verdict = isOver ? 'time limit' : isPass ? 'pass' : 'fail';
    return { version, name, verdict, seconds, report: `${output}\n--- broker\n${log}${failure}` };
  } finally {
    await broker.kill();
  }
}

async function runPython(
  folder: string,
  version: Version,
  name: string,
  port: number,
): Promise<{ isOver: boolean; code: number | null; output: string }> {
  const args =
    version === '5'
      ? ['client_test5.py', '--port', `${port}`, `Test.${name}`]
      : ['-c', wrapper311, `${port}`, `Test.${name}`];
  const child = spawn('python3', args, {
    cwd: folder,
    env: { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: '1', PYTHONPATH: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const collect = (text: string): void => {
    // Some tests print every packet; the end is what tells.
    output = (output + text).slice(-100_000);
  };
  child.stdout.setEncoding('utf8').on('data', collect);
  child.stderr.setEncoding('utf8').on('data', collect);
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
    child.kill('SIGKILL');
  }, timeLimitMs);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { isOver, code, output };
}

function chosenTests(wanted: readonly string[]): [Version, string][] {
  const all = versions.flatMap((version) => tests[version].map((name): [Version, string] => [version, name]));
  if (wanted.length === 0) return all;
  return all.filter(([version, name]) => wanted.some((part) => `${version}:${name}`.includes(part)));
}

/** Runs all, a few at once; each is printed when it is done. */
async function runAll(folder: string, chosen: readonly [Version, string][]): Promise<Outcome[]> {
  const waiting = [...chosen];
  const outcomes: Outcome[] = [];
  const runNext = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const outcome = await runOne(folder, ...next);
      print(outcome);
      outcomes.push(outcome);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnceMax, waiting.length) }, runNext));
  for (const [index, first] of outcomes.entries()) {
    if (first.verdict !== 'fail') continue;
    const second = await runOne(folder, first.version, first.name);
    const verdict = second.verdict === 'pass' ? 'pass, second run' : second.verdict;
    outcomes[index] = { ...second, verdict, report: `${first.report}\n--- second run\n${second.report}` };
    print(outcomes[index]);
  }
  return outcomes;
}

function print({ version, name, verdict, seconds }: Outcome): void {
  console.log(`${version.padEnd(6)} ${name.padEnd(32)} ${verdict.padEnd(16)} ${seconds.toFixed(1).padStart(5)} s`);
}

function hasPassed({ verdict }: Outcome): boolean {
  return verdict === 'pass' || verdict === 'pass, second run';
}

function findFolder(path: string): string {
  const found = [path, join(path, 'interoperability')].find((folder) => existsSync(join(folder, 'client_test5.py')));
  if (found === undefined) throw new Error(`Cannot find client_test5.py in "${path}" or its folder interoperability`);
  return resolve(found);
}

if (path === undefined) {
  console.error(
    'Usage: npm run test:paho -- [--workers N] DIR [name …]; DIR is a checkout of eclipse/paho.mqtt.testing',
  );
  process.exitCode = 2;
} else {
  const chosen = chosenTests(wanted);
  const outcomes = await runAll(findFolder(path), chosen);
  for (const { version, name, verdict, report } of outcomes.filter((outcome) => outcome.verdict !== 'pass')) {
    console.log(`\n===== ${version} ${name}: ${verdict}\n${report.slice(-8_000)}`);
  }
  console.log('');
  for (const version of versions) {
    const all = outcomes.filter((outcome) => outcome.version === version);
    console.log(`MQTT ${version.padEnd(6)} ${all.filter(hasPassed).length} of ${all.length} pass`);
  }
  if (chosen.length === 0 || !outcomes.every(hasPassed)) process.exitCode = 1;
}
