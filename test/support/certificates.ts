/** Certificates for tests, made by the `openssl` command in a folder of their own. Thread of the test. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** An authority that signs certificates for a day. */
export class TestAuthority {
  /** Path of its certificate. */
  readonly ca: string;
  private readonly folder = mkdtempSync(join(tmpdir(), 'ringmq-ca-'));

  constructor() {
    this.ca = join(this.folder, 'ca.crt');
    const key = join(this.folder, 'ca.key');
    openssl(['req', '-x509', ...newKey(key), '-subj', '/CN=test authority', '-days', '1', '-out', this.ca]);
  }

  /** Paths of a certificate for `names`, as in `DNS:node-1` or `IP:127.0.0.1`, and of its key. */
  issue(
    name: string,
    names: readonly string[],
  ): { readonly ca: string; readonly certificate: string; readonly key: string } {
    const at = (suffix: string): string => join(this.folder, `${name}.${suffix}`);
    openssl(['req', ...newKey(at('key')), '-subj', `/CN=${name}`, '-out', at('csr')]);
    writeFileSync(at('ext'), `subjectAltName=${names.join(',')}\n`);
    const signer = ['-CA', this.ca, '-CAkey', join(this.folder, 'ca.key'), '-CAcreateserial'];
    openssl(['x509', '-req', '-in', at('csr'), ...signer, '-days', '1', '-extfile', at('ext'), '-out', at('crt')]);
    return { ca: this.ca, certificate: at('crt'), key: at('key') };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

function newKey(path: string): string[] {
  return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', path];
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
