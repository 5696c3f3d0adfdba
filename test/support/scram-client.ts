/** The client's side of SCRAM (RFC 5802), for tests. */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';

export class ScramClient {
  readonly first: string;
  private readonly hash: 'sha256' | 'sha512';
  private readonly password: string;
  private readonly bare: string;
  private expected = '';

  constructor(hash: 'sha256' | 'sha512', user: string, password: string, nonce = 'fyko+d2lbbFgONRv9qkxdawL') {
    this.hash = hash;
    this.password = password;
    this.bare = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`;
    this.first = `n,,${this.bare}`;
  }

  /** The last message, as the answer to the server's first. */
  final(serverFirst: string): string {
    const [, nonce, salt, iterations] = /^r=([^,]*),s=([^,]*),i=(\d+)$/.exec(serverFirst) ?? [];
    const length = this.hash === 'sha256' ? 32 : 64;
    const salted = pbkdf2Sync(this.password, Buffer.from(salt, 'base64'), Number(iterations), length, this.hash);
    const clientKey = this.mac(salted, 'Client Key');
    const storedKey = createHash(this.hash).update(clientKey).digest();
    const without = `c=biws,r=${nonce}`;
    const signed = `${this.bare},${serverFirst},${without}`;
    const signature = this.mac(storedKey, signed);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]));
    this.expected = `v=${this.mac(this.mac(salted, 'Server Key'), signed).toString('base64')}`;
    return `${without},p=${proof.toString('base64')}`;
  }

  /** Whether the server has the keys too. */
  isServer(serverFinal: string): boolean {
    return serverFinal === this.expected;
  }

  private mac(key: Uint8Array, data: string): Buffer {
    return createHmac(this.hash, key).update(data).digest();
  }
}
