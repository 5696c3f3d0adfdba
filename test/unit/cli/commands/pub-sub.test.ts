import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type RunningCli,
  runCli,
  startAedes,
  startCli,
  startServer,
  startVersion5Broker,
  type TestBroker,
  until,
} from '../support.ts';

/** Starts `sub` and waits until its subscription stands. */
async function startSub(port: number, ...flags: string[]): Promise<RunningCli> {
  const sub = startCli(['sub', '-p', `${port}`, '-d', '-W', '15', ...flags]);
  await until(() => sub.io.err().includes('received SUBACK'));
  return sub;
}

describe('pub and sub over MQTT 3.1.1', () => {
  let broker: Awaited<ReturnType<typeof startAedes>>;
  const pub = (...flags: string[]) => runCli(['pub', '-p', `${broker.port}`, ...flags]);

  beforeAll(async () => {
    broker = await startAedes();
  });
  afterAll(() => broker.stop());

  test.each(['0', '1', '2'])('sub prints what pub sends with QoS %s', async (qos) => {
    const sub = await startSub(broker.port, '-t', `qos/${qos}`, '-q', qos, '-C', '1', '-F', '%t %q %p');
    expect((await pub('-t', `qos/${qos}`, '-m', 'hello', '-q', qos)).exitCode).toBe(0);
    expect(await sub.done).toMatchObject({ exitCode: 0, out: `qos/${qos} ${qos} hello\n` });
  });

  test('pub -V mqttv31 speaks MQTT 3.1', async () => {
    const sub = await startSub(broker.port, '-t', 'v31', '-C', '1');
    expect((await pub('-t', 'v31', '-m', 'old', '-V', 'mqttv31')).exitCode).toBe(0);
    expect((await sub.done).out).toBe('old\n');
  });

  test('pub -l sends a message for each line, in order', async () => {
    const sub = await startSub(broker.port, '-t', 'lines', '-q', '1', '-C', '300');
    const lines = Array.from({ length: 300 }, (_, i) => `line ${i}`).join('\n');
    const run = await runCli(['pub', '-p', `${broker.port}`, '-t', 'lines', '-l', '-q', '1', '-M', '5'], `${lines}\n`);
    expect(run.exitCode).toBe(0);
    expect((await sub.done).out).toBe(`${lines}\n`);
  });

  test('pub takes its payload from a file, from standard input, or sends none', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringmq-cli-'));
    const file = join(folder, 'payload');
    writeFileSync(file, Buffer.from([0, 255, 10]));
    const sub = await startSub(broker.port, '-t', 'source', '-C', '3', '-F', '%x;', '-N');
    await pub('-t', 'source', '-f', file);
    await runCli(['pub', '-p', `${broker.port}`, '-t', 'source', '-s'], 'a\nb');
    await pub('-t', 'source', '-n');
    rmSync(folder, { recursive: true });
    expect((await sub.done).out).toBe('00ff0a;610a62;;');
    expect((await pub('-t', 'source', '-f', file)).exitCode).toBe(1);
  });

  test('pub --repeat sends that many', async () => {
    const sub = await startSub(broker.port, '-t', 'again', '-C', '3');
    await pub('-t', 'again', '-m', 'x', '--repeat', '3', '--repeat-delay', '0.01');
    expect((await sub.done).out).toBe('x\nx\nx\n');
  });

  test('sub -T leaves out what matches and -v shows the topic', async () => {
    const sub = await startSub(broker.port, '-t', 'house/#', '-T', 'house/+/secret', '-C', '2', '-v');
    for (const topic of ['house/a', 'house/a/secret', 'house/b']) await pub('-t', topic, '-m', 'x', '-q', '1');
    expect((await sub.done).out).toBe('house/a x\nhouse/b x\n');
  });

  test('sub handles retained messages as its flags say', async () => {
    await pub('-t', 'kept/1', '-m', 'old', '-r', '-q', '1');
    const skipping = await startSub(broker.port, '-t', 'kept/#', '-R', '-C', '1');
    const only = startCli(['sub', '-p', `${broker.port}`, '-t', 'kept/#', '--retained-only', '-W', '15']);
    await until(() => only.io.out() === 'old\n');
    await pub('-t', 'kept/2', '-m', 'new', '-q', '1');
    expect((await skipping.done).out).toBe('new\n');
    expect(await only.done).toMatchObject({ exitCode: 0, out: 'old\n' });

    const removing = startCli([
      'sub',
      '-p',
      `${broker.port}`,
      '-t',
      'kept/1',
      '--remove-retained',
      '-C',
      '1',
      '-W',
      '15',
    ]);
    expect((await removing.done).out).toBe('old\n');
    const after = await runCli(['sub', '-p', `${broker.port}`, '-t', 'kept/1', '-W', '0.3']);
    expect(after).toMatchObject({ exitCode: 27, out: '' });
  });

  test('sub -E ends once subscribed, -W with status 27, a signal with 0', async () => {
    expect((await runCli(['sub', '-p', `${broker.port}`, '-t', 'a', '-E'])).exitCode).toBe(0);
    const late = await runCli(['sub', '-p', `${broker.port}`, '-t', 'a', '-W', '0.2']);
    expect(late).toEqual({ exitCode: 27, out: '', err: 'ringmq: Timed out\n' });
    const quiet = await runCli(['sub', '-p', `${broker.port}`, '-t', 'a', '-W', '0.2', '--quiet']);
    expect(quiet.err).toBe('');
    const stopped = await startSub(broker.port, '-t', 'a');
    stopped.interrupt();
    expect((await stopped.done).exitCode).toBe(0);
  });

  test('sub -L takes user, host, port and a filter with wildcards', async () => {
    const sub = await startSub(broker.port, '-L', `mqtt://me:secret@127.0.0.1:${broker.port}/url/#`, '-C', '1');
    await pub('-L', `mqtt://127.0.0.1:${broker.port}/url/x`, '-m', 'hi');
    expect((await sub.done).out).toBe('hi\n');
  });

  test('pub and sub end with the code of a refusal', async () => {
    const refused = await pub('-t', 'a', '-m', 'b', '-u', 'nobody', '-P', 'x');
    expect(refused).toMatchObject({ exitCode: 5, out: '' });
    expect(refused.err).toContain('refused by the broker: not authorised (code 5)');
    expect((await runCli(['sub', '-p', `${broker.port}`, '-t', 'a', '-u', 'nobody'])).exitCode).toBe(5);
  });

  test('sub connects and subscribes again when its connection breaks', async () => {
    const sub = await startSub(broker.port, '-t', 'back', '-i', 'returner', '-C', '1');
    broker.breakConnection('returner');
    await until(() => sub.io.err().split('received SUBACK').length === 3);
    await pub('-t', 'back', '-m', 'still here');
    expect((await sub.done).out).toBe('still here\n');
  });

  test('the will goes out when the connection breaks', async () => {
    const sub = await startSub(broker.port, '-t', 'gone', '-C', '1');
    const mortal = await startSub(
      broker.port,
      '-t',
      'other',
      '-i',
      'mortal',
      '--will-topic',
      'gone',
      '--will-payload',
      'died',
    );
    broker.breakConnection('mortal');
    expect((await sub.done).out).toBe('died\n');
    mortal.interrupt();
    expect((await mortal.done).exitCode).toBe(0);
  });
});

describe('pub and sub over MQTT 5', () => {
  let broker: TestBroker;

  beforeAll(async () => {
    broker = await startVersion5Broker();
  });
  afterAll(() => broker.stop());

  test('sub prints the properties that pub -D sends', async () => {
    const sub = await startSub(
      broker.port,
      '-V',
      'mqttv5',
      '-t',
      'p',
      '-C',
      '1',
      '-F',
      '%C %R %D %P %F',
      '-D',
      'subscribe',
      'user-property',
      's',
      't',
    );
    const flags = ['-D', 'publish', 'content-type', 'text/plain', '-D', 'publish', 'response-topic', 'back'];
    flags.push('-D', 'publish', 'correlation-data', 'c1', '-D', 'publish', 'user-property', 'a', 'b');
    flags.push('-D', 'publish', 'payload-format-indicator', '1', '-D', 'connect', 'user-property', 'x', 'y');
    const run = await runCli(['pub', '-p', `${broker.port}`, '-V', '5', '-t', 'p', '-m', 'x', '-q', '1', ...flags]);
    expect(run).toMatchObject({ exitCode: 0, err: '' });
    expect((await sub.done).out).toBe('text/plain back c1 a:b 1\n');
  });

  test('sub -c -x keeps the session and gets what came meanwhile', async () => {
    const flags = [
      'sub',
      '-p',
      `${broker.port}`,
      '-V',
      '5',
      '-i',
      'keeper',
      '-c',
      '-x',
      '60',
      '-q',
      '1',
      '-t',
      'meanwhile',
    ];
    expect((await runCli([...flags, '-E'])).exitCode).toBe(0);
    expect(
      (await runCli(['pub', '-p', `${broker.port}`, '-V', '5', '-t', 'meanwhile', '-m', 'missed', '-q', '1'])).exitCode,
    ).toBe(0);
    expect(await runCli([...flags, '-C', '1', '-W', '15'])).toMatchObject({ exitCode: 0, out: 'missed\n' });
  });

  test('sub --retain-as-published shows the retain flag of live messages', async () => {
    const sub = await startSub(broker.port, '-V', '5', '-t', 'rap', '--retain-as-published', '-C', '1', '-F', '%r');
    await runCli(['pub', '-p', `${broker.port}`, '-V', '5', '-t', 'rap', '-m', 'x', '-r']);
    expect((await sub.done).out).toBe('1\n');
  });
});

describe('pub and sub with a broker that misbehaves', () => {
  test('pub ends with 2 when the broker closes at once', async () => {
    const broker = await startServer((socket) => socket.destroy());
    const run = await runCli(['pub', '-h', '127.0.0.1', '-p', `${broker.port}`, '-t', 'a', '-m', 'b']);
    await broker.stop();
    expect(run.exitCode).toBe(2);
    expect(run.err).toMatch(/^ringmq: Cannot connect to /);
  });

  test('pub ends with 2 when the broker goes before it acknowledged', async () => {
    const broker = await startServer((socket) => {
      socket.once('data', () => {
        socket.write(Buffer.from([0x20, 2, 0, 0]));
        socket.once('data', () => socket.destroy());
      });
    });
    const run = await runCli(['pub', '-h', '127.0.0.1', '-p', `${broker.port}`, '-t', 'a', '-m', 'b', '-q', '1']);
    await broker.stop();
    expect(run.exitCode).toBe(2);
    expect(run.err).toContain('connection lost');
  });

  test('sub -W ends a connection attempt that nobody answers', async () => {
    const broker = await startServer(() => undefined);
    const run = await runCli(['sub', '-h', '127.0.0.1', '-p', `${broker.port}`, '-t', 'a', '-W', '0.2', '--quiet']);
    await broker.stop();
    expect(run.exitCode).toBe(27);
  });
});
