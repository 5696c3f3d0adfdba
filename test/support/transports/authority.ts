/**
 * An authority that revokes and answers OCSP, for the tests of transports; the `openssl` command does the work in a folder
 * of its own. Thread of the test.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

export class RevokingAuthority {
  readonly folder = mkdtempSync(join(tmpdir(), 'ringmq-authority-'));
  readonly ca = join(this.folder, 'ca.crt');
  /** PEM; written by `writeCrl`. */
  readonly crl = join(this.folder, 'list.crl');
  private readonly key = join(this.folder, 'ca.key');
  private readonly configuration = join(this.folder, 'ca.cnf');

  constructor(name = 'revoking authority') {
    writeFileSync(join(this.folder, 'index.txt'), '');
    writeFileSync(join(this.folder, 'serial'), '1000\n');
    writeFileSync(join(this.folder, 'crlnumber'), '01\n');
    writeFileSync(
      this.configuration,
      [
        '[ca]',
        'default_ca = this',
        '[this]',
        `database = ${join(this.folder, 'index.txt')}`,
        `serial = ${join(this.folder, 'serial')}`,
        `crlnumber = ${join(this.folder, 'crlnumber')}`,
        `new_certs_dir = ${this.folder}`,
        'default_md = sha256',
        'policy = any',
        'unique_subject = no',
        '[any]',
        'commonName = supplied',
        'organizationName = optional',
      ].join('\n'),
    );
    openssl(['req', '-x509', ...newKey(this.key), '-subj', `/CN=${name}`, '-days', '2', '-out', this.ca]);
    this.writeCrl();
  }

  /** A certificate for `names`, as in `DNS:a.example`; `responder` is put into it as the address of the OCSP responder. */
  issue(
    name: string,
    names: readonly string[],
    options: { days?: number; responder?: string; subject?: string } = {},
  ): Issued {
    const at = (suffix: string): string => join(this.folder, `${name}.${suffix}`);
    const { days = 1, responder, subject = `/CN=${name}` } = options;
    openssl(['req', ...newKey(at('key')), '-subj', subject, '-utf8', '-out', at('csr')]);
    const access = responder === undefined ? '' : `authorityInfoAccess=OCSP;URI:${responder}\n`;
    writeFileSync(
      at('ext'),
      `${names.length > 0 ? `subjectAltName=${names.join(',')}\n` : ''}${access}basicConstraints=CA:FALSE\n`,
    );
    openssl([
      'ca',
      ...this.signer(),
      '-batch',
      '-days',
      `${days}`,
      '-extfile',
      at('ext'),
      '-in',
      at('csr'),
      '-out',
      at('crt'),
      '-notext',
    ]);
    return { certificate: at('crt'), key: at('key') };
  }

  revoke(issued: Issued): void {
    openssl(['ca', ...this.signer(), '-revoke', issued.certificate]);
    this.writeCrl();
  }

  writeCrl(): void {
    openssl(['ca', ...this.signer(), '-gencrl', '-crldays', '2', '-out', this.crl]);
  }

  /** The answer to an OCSP request, or about one certificate, DER. */
  ocspResponse(about: { readonly request: Buffer } | { readonly issued: Issued }): Buffer {
    const out = join(this.folder, 'response.der');
    const request = join(this.folder, 'request.der');
    if ('request' in about) writeFileSync(request, about.request);
    const question =
      'request' in about ? ['-reqin', request] : ['-issuer', this.ca, '-cert', about.issued.certificate, '-no_nonce'];
    const signer = ['-rsigner', this.ca, '-rkey', this.key];
    openssl([
      'ocsp',
      '-index',
      join(this.folder, 'index.txt'),
      '-CA',
      this.ca,
      ...signer,
      ...question,
      '-ndays',
      '1',
      '-respout',
      out,
    ]);
    return readFileSync(out);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private signer(): string[] {
    return ['-config', this.configuration, '-cert', this.ca, '-keyfile', this.key];
  }
}

/** A responder over HTTP; the address has to be known before certificates name it. */
export class OcspResponder {
  readonly requests: Buffer[] = [];
  authority: RevokingAuthority | null = null;
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const question = Buffer.concat(chunks);
        this.requests.push(question);
        response.setHeader('content-type', 'application/ocsp-response');
        response.end(this.authority?.ocspResponse({ request: question }));
      });
    });
  }

  static async start(): Promise<OcspResponder> {
    const responder = new OcspResponder();
    await new Promise<void>((resolve) => responder.server.listen(0, '127.0.0.1', resolve));
    return responder;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

function newKey(path: string): string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', path];
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
