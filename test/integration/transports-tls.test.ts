/**
 * TLS of the running broker: versions, names, client certificates, revocation, stapling, sessions over workers, reload, and
 * what attackers do to hand-shakes.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../src/main/index.ts';
import { type Issued, OcspResponder, RevokingAuthority } from '../support/transports/authority.ts';
import { counted } from '../support/transports/metrics.ts';
import { connectPacket, type Peer, pingreq, plainPeer, tlsPeer, welcome } from '../support/transports/peer.ts';

let authority: RevokingAuthority;
let stranger: RevokingAuthority;
let responder: OcspResponder;
let broker: Broker;
let ca: Buffer;
let device: Issued;
const peers: Peer[] = [];

const fileOf = (name: string): string => join(authority.folder, name);
const own = (issued: Issued) => ({ cert: readFileSync(issued.certificate), key: readFileSync(issued.key) });

async function open(listener: string, options: tls.ConnectionOptions = {}) {
  const peer = await tlsPeer({ port: broker.port(listener), ca, ...options });
  peers.push(peer);
  return peer;
}

/** The answer to CONNECT, or how the connection ended. */
async function login(listener: string, options: tls.ConnectionOptions = {}): Promise<string> {
  const peer = await open(listener, options);
  const answer = await peer.write(connectPacket('tls-client')).take(4);
  return answer === '' ? 'refused' : answer;
}

beforeAll(async () => {
  authority = new RevokingAuthority();
  stranger = new RevokingAuthority('stranger');
  responder = await OcspResponder.start();
  responder.authority = authority;
  ca = readFileSync(authority.ca);
  device = authority.issue('device-1', ['DNS:device-1.example'], { subject: '/O=Example/CN=device-1' });
  const first = authority.issue('mq', ['DNS:mq.example', 'IP:127.0.0.1'], { responder: responder.url });
  const second = authority.issue('wild', ['DNS:*.wild.example']);
  copyFileSync(first.certificate, fileOf('live.crt'));
  copyFileSync(first.key, fileOf('live.key'));
  const listener = (name: string, settings: object) => ({
    name,
    protocol: 'mqtt',
    transport: 'tls',
    address: '127.0.0.1:0',
    tls: settings,
  });
  broker = await startBroker({
    workers: 2,
    logLevel: 'error',
    settings: {
      sharding: 'round-robin',
      tls: { certificate: first.certificate, key: first.key, ca: authority.ca },
      listeners: [
        listener('open', { names: [second], ocsp: 'fetch' }),
        listener('modern', { minVersion: 'TLSv1.3' }),
        listener('optional', { clientCertificate: 'optional' }),
        listener('required', { clientCertificate: 'required', crl: authority.crl }),
        listener('live', { certificate: fileOf('live.crt'), key: fileOf('live.key') }),
        { ...listener('short', {}), handshakeTimeoutMs: 300 },
      ],
    },
  });
}, 30_000);

afterEach(() => {
  for (const peer of peers.splice(0)) peer.close();
});

afterAll(async () => {
  await broker?.stop();
  await responder?.stop();
  authority?.remove();
  stranger?.remove();
});

describe('a TLS listener', () => {
  it('serves TLS 1.2 and 1.3 and nothing older', async () => {
    const versions = await Promise.all(
      (['TLSv1.2', 'TLSv1.3'] as const).map(async (version) => {
        const peer = await open('open', { minVersion: version, maxVersion: version });
        expect(await peer.write(connectPacket(version)).take(4)).toBe(welcome);
        return peer.socket.getProtocol();
      }),
    );
    expect(versions).toEqual(['TLSv1.2', 'TLSv1.3']);
    const ancient = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    expect(await login('open', ancient)).toBe('refused');
    expect(await login('modern', { maxVersion: 'TLSv1.2' })).toBe('refused');
    expect(await login('modern')).toBe(welcome);
  });

  it('has no cipher without forward secrecy', async () => {
    const weak = { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:AES256-GCM-SHA384' } as const;
    expect(await login('open', weak)).toBe('refused');
  });

  it('offers the protocol by its name and refuses a client that wants another one', async () => {
    const agreed = await open('open', { ALPNProtocols: ['x', 'mqtt'] });
    expect(agreed.socket.alpnProtocol).toBe('mqtt');
    expect(await login('open', { ALPNProtocols: ['http/1.1'] })).toBe('refused');
    expect(await login('open')).toBe(welcome);
  });

  it('gives each name its certificate, and the first one to everybody else', async () => {
    const commonName = async (servername: string | undefined): Promise<string | string[] | undefined> => {
      const peer = await open('open', { servername: servername ?? '', checkServerIdentity: () => undefined });
      return peer.socket.getPeerCertificate().subject.CN;
    };
    expect(await commonName('mq.example')).toBe('mq');
    expect(await commonName('a.wild.example')).toBe('wild');
    expect(await commonName('A.WILD.example')).toBe('wild');
    expect(await commonName('a.b.wild.example')).toBe('mq');
    expect(await commonName('wild.example')).toBe('mq');
    expect(await commonName('other.example')).toBe('mq');
    expect(await commonName(undefined)).toBe('mq');
  });

  it('asks for a certificate as it is told', async () => {
    const strange = stranger.issue('device-1', []);
    expect(await login('optional')).toBe(welcome);
    expect(await login('optional', own(device))).toBe(welcome);
    // Shown and not in order is worse than not shown.
    expect(await login('optional', own(strange))).toBe('refused');
    expect(await login('required', own(device))).toBe(welcome);
    expect(await login('required', own(strange))).toBe('refused');
    expect(await login('required')).toBe('refused');
    expect(await counted(broker, 'ringmq_transport_failures_total', 'certificate-refused')).toBe(3);
  });

  it('carries large messages in both directions', async () => {
    const peer = await open('open');
    await peer.write(connectPacket('large')).take(4);
    peer.write(Buffer.from([0x82, 6, 0, 1, 0, 1, 116, 0]));
    await peer.take(5);
    const length = 400_000;
    const frame = Buffer.alloc(1 + 3 + 3 + length, 7);
    frame[0] = 0x30;
    const remaining = length + 3;
    frame.set([(remaining & 127) | 128, ((remaining >> 7) & 127) | 128, remaining >> 14, 0, 1, 116], 1);
    peer.write(frame, frame);
    const back = await peer.take(2 * frame.length);
    expect(Buffer.from(back, 'hex').equals(Buffer.concat([frame, frame]))).toBe(true);
  });

  it('resumes a session on any worker', async () => {
    const reused: boolean[] = [];
    const peer = await open('open', { maxVersion: 'TLSv1.2' });
    await peer.write(connectPacket('resume')).take(4);
    const session = peer.socket.getSession();
    for (let round = 0; round < 4; round++) {
      const again = await open('open', { maxVersion: 'TLSv1.2', ...(session === undefined ? {} : { session }) });
      reused.push(again.socket.isSessionReused());
    }
    expect(reused).toEqual([true, true, true, true]);
  });

  it('staples what the responder of the certificate answers', async () => {
    let stapled: Buffer | null = null;
    for (let attempt = 0; attempt < 200 && stapled === null; attempt++) {
      const socket = tls.connect({
        port: broker.port('open'),
        host: '127.0.0.1',
        servername: 'mq.example',
        ca,
        requestOCSP: true,
      });
      stapled = await new Promise<Buffer | null>((resolve) => {
        socket.once('OCSPResponse', (response: Buffer | null) => resolve(response?.length ? response : null));
        socket.once('error', () => resolve(null));
      });
      socket.destroy();
      if (stapled === null) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(responder.requests.length).toBeGreaterThan(0);
    // "successful"
    expect(stapled?.includes(Buffer.from([0x0a, 0x01, 0x00]))).toBe(true);
  });

  it('takes new certificates without a cut connection, and keeps the old ones when the new are broken', async () => {
    const connected = await open('live');
    await connected.write(connectPacket('stays')).take(4);
    const serial = async (): Promise<string> => {
      const peer = await open('live');
      return peer.socket.getPeerCertificate().serialNumber;
    };
    const former = await serial();
    const next = authority.issue('next', ['DNS:mq.example']);
    copyFileSync(next.certificate, fileOf('live.crt'));
    // The key of another certificate.
    const broken = await broker.reloadTls();
    expect(broken.find(({ listener }) => listener === 'live')?.problem).toMatch(
      /live\.key".*it is not the key of the certificate/,
    );
    expect(await serial()).toBe(former);
    const url = `http://127.0.0.1:${broker.port('http')}/api/v1/listeners`;
    expect((await fetch(`${url}/reload`, { method: 'POST' })).status).toBe(422);
    copyFileSync(next.key, fileOf('live.key'));
    expect((await fetch(`${url}/reload`, { method: 'POST' })).status).toBe(200);
    const { listeners } = (await (await fetch(url)).json()) as { listeners: object[] };
    const address = `127.0.0.1:${broker.port('live')}`;
    expect(listeners).toContainEqual({ name: 'live', protocol: 'mqtt', transport: 'tls', address });
    let present = former;
    while (present === former) present = await serial();
    expect(await connected.write(pingreq).take(2)).toBe('d000');
  });

  it('sees a changed file by itself', async () => {
    const former = (await open('live')).socket.getPeerCertificate().serialNumber;
    const next = authority.issue('again', ['DNS:mq.example']);
    writeFileSync(fileOf('live.key'), readFileSync(next.key));
    writeFileSync(fileOf('live.crt'), readFileSync(next.certificate));
    let present = former;
    while (present === former) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      present = (await open('live')).socket.getPeerCertificate().serialNumber;
    }
    expect(present).not.toBe(former);
  });

  it('refuses a revoked certificate after a reload, with an old session too', async () => {
    const lost = authority.issue('lost', []);
    const peer = await open('required', { ...own(lost), maxVersion: 'TLSv1.2' });
    expect(await peer.write(connectPacket('lost')).take(4)).toBe(welcome);
    const session = peer.socket.getSession();
    authority.revoke(lost);
    await broker.reloadTls();
    let answer = welcome;
    while (answer === welcome) answer = await login('required', { ...own(lost), maxVersion: 'TLSv1.2' });
    expect(answer).toBe('refused');
    const resumed = { ...own(lost), maxVersion: 'TLSv1.2' as const, ...(session === undefined ? {} : { session }) };
    expect(await login('required', resumed)).toBe('refused');
    expect(await login('required', own(device))).toBe(welcome);
  });
});

describe('a TLS listener under attack', () => {
  it('cuts hand-shakes that do not come to an end, however slowly they go on', async () => {
    const before = await counted(broker, 'ringmq_transport_failures_total', 'tls-timeout');
    const silent = await plainPeer(broker.port('short'));
    const slow = await plainPeer(broker.port('short'));
    const hello = Buffer.from('16030100c8010000c403030000', 'hex');
    const timer = setInterval(() => slow.write(hello.subarray(0, 1)), 40);
    expect(await silent.end()).toBe('end');
    await slow.end();
    clearInterval(timer);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'tls-timeout')).toBeGreaterThan(before);
  });

  it('ends a client that speaks no TLS, breaks a record, or stops in the middle', async () => {
    const plain = await plainPeer(broker.port('open'));
    plain.write(connectPacket('plain'));
    await plain.end();
    const noise = await plainPeer(broker.port('open'));
    noise.write(Buffer.alloc(5_000, 0xff));
    await noise.end();
    const raw = net.connect({ port: broker.port('open'), host: '127.0.0.1' });
    const broken = tls.connect({ socket: raw, servername: 'mq.example', ca });
    await new Promise((resolve) => broken.once('secureConnect', resolve));
    // A record that nobody encrypted.
    raw.write(Buffer.from('1703030010aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'hex'));
    broken.on('error', () => undefined);
    await new Promise((resolve) => raw.once('close', resolve));
    expect(await login('open')).toBe(welcome);
    expect(await counted(broker, 'ringmq_transport_failures_total', 'tls-failed')).toBeGreaterThan(1);
  });

  it('refuses renegotiation', async () => {
    const peer = await open('open', { maxVersion: 'TLSv1.2' });
    await peer.write(connectPacket('again')).take(4);
    const outcome = await new Promise<string>((resolve) => {
      peer.socket.once('error', () => resolve('refused'));
      peer.socket.once('close', () => resolve('refused'));
      peer.socket.renegotiate({ rejectUnauthorized: true }, (error) => resolve(error === null ? 'done' : 'refused'));
    });
    expect(outcome).toBe('refused');
  });

  it('has no connection left when all have gone', async () => {
    for (const peer of peers.splice(0)) peer.close();
    for (;;) {
      if ((await counted(broker, 'ringmq_connections_open', '')) === 0) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });
});

describe('startBroker() with TLS', () => {
  const startWith = (settings: object) =>
    startBroker({
      http: false,
      settings: {
        listeners: [{ name: 'tls', protocol: 'mqtt', transport: 'tls', address: '127.0.0.1:0', tls: settings }],
      },
    });

  it('names what is wrong with the files', async () => {
    const missing = { certificate: fileOf('nothing.crt'), key: fileOf('mq.key') };
    await expect(startWith(missing)).rejects.toMatchObject({
      code: 'TLS_MATERIAL_UNUSABLE',
      message: `Cannot use "${fileOf('nothing.crt')}" for listener "tls": the certificate cannot be read (ENOENT)`,
    });
    const swapped = { certificate: fileOf('mq.key'), key: fileOf('mq.key') };
    await expect(startWith(swapped)).rejects.toThrow(/it holds no certificate in PEM form/);
    const mixed = { certificate: fileOf('mq.crt'), key: fileOf('wild.key') };
    await expect(startWith(mixed)).rejects.toThrow(/it is not the key of the certificate/);
    const good = { certificate: fileOf('mq.crt'), key: fileOf('mq.key') };
    await expect(startWith({ ...good, ciphers: 'NONSENSE' })).rejects.toThrow(
      /Cannot use the TLS settings of listener "tls"/,
    );
    const notAnAuthority = { ...good, clientCertificate: 'required', ca: fileOf('mq.crt') };
    await expect(startWith(notAnAuthority)).rejects.toThrow(/"CN=mq" in it is no authority/);
    const notAList = { ...good, clientCertificate: 'required', ca: authority.ca, crl: fileOf('mq.crt') };
    await expect(startWith(notAList)).rejects.toThrow(/it holds no revocation list in PEM form/);
  });
});
