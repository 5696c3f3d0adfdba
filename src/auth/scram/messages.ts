/**
 * The messages of SCRAM (RFC 5802, section 7). Pure; main thread. Everything that comes from a client is bounded by who
 * calls, and refused when it is not exactly of this form.
 *
 * ```
 * client-first = gs2-header client-first-bare      gs2-header = ("n" / "y" / "p=" name) "," ["a=" authzid] ","
 * client-first-bare = ["m=" …] "n=" name ",r=" nonce [extensions]
 * server-first = "r=" nonce ",s=" salt ",i=" iterations
 * client-final = "c=" base64(gs2-header) ",r=" nonce [extensions] ",p=" proof
 * server-final = "v=" signature
 * ```
 */
import { isUtf8 } from 'node:buffer';

export interface ClientFirst {
  /** The part that both sides sign. */
  readonly bare: string;
  readonly gs2Header: string;
  readonly authorization: string;
  readonly user: string;
  readonly nonce: string;
}

export interface ClientFinal {
  readonly withoutProof: string;
  readonly channelBinding: string;
  readonly nonce: string;
  readonly proof: Buffer;
}

const nonceCharactersMax = 256;
const nonceForm = /^[\x21-\x2b\x2d-\x7e]+$/;

/** A text says what is wrong. */
export function parseClientFirst(data: Uint8Array): ClientFirst | string {
  const text = textOf(data);
  if (text === null) return 'the message is not UTF-8';
  const header = /^(n|y|p=[A-Za-z0-9.-]+),(?:a=([^,]*))?,/.exec(text);
  if (header === null) return 'the message has no GS2 header';
  if (header[1].startsWith('p=')) return 'channel binding is not offered';
  const bare = text.slice(header[0].length);
  if (bare.startsWith('m=')) return 'a mandatory extension is not known';
  const parts = /^n=([^,]*),r=([^,]*)(?:,.*)?$/.exec(bare);
  if (parts === null) return 'the message has no name and nonce';
  const user = decodeName(parts[1]);
  const authorization = decodeName(header[2] ?? '');
  if (user === null || authorization === null) return 'a name is encoded wrongly';
  const nonce = parts[2];
  if (nonce.length > nonceCharactersMax || !nonceForm.test(nonce)) return 'the nonce is not printable';
  return { bare, gs2Header: header[0], authorization, user, nonce };
}

export function parseClientFinal(data: Uint8Array): ClientFinal | string {
  const text = textOf(data);
  if (text === null) return 'the message is not UTF-8';
  const at = text.lastIndexOf(',p=');
  const parts = at === -1 ? null : /^c=([A-Za-z0-9+/=]*),r=([^,]*)(?:,.*)?$/.exec(text.slice(0, at));
  const proof = text.slice(at + 3);
  if (parts === null || !/^[A-Za-z0-9+/]+={0,2}$/.test(proof)) return 'the message has no nonce and proof';
  return {
    withoutProof: text.slice(0, at),
    channelBinding: Buffer.from(parts[1], 'base64').toString('utf8'),
    nonce: parts[2],
    proof: Buffer.from(proof, 'base64'),
  };
}

function textOf(data: Uint8Array): string | null {
  if (!isUtf8(data)) return null;
  const text = Buffer.from(data).toString('utf8');
  return text.includes('\u0000') || /[\r\n]/.test(text) ? null : text;
}

/** `=2C` and `=3D` stand for the two characters that the grammar needs; any other `=` is wrong. */
function decodeName(text: string): string | null {
  if (/=(?!2C|3D)/.test(text)) return null;
  return text.replaceAll('=2C', ',').replaceAll('=3D', '=');
}
