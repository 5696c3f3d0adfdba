/**
 * OCSP requests and responses (RFC 6960, RFC 5019): what is asked about a certificate, and whether an answer may be stapled.
 * Main thread; imported only when a listener staples.
 */
import { createHash, verify, X509Certificate } from 'node:crypto';
import {
  BasicOCSPResponse,
  CertID,
  id_pkix_ocsp_basic,
  OCSPRequest,
  OCSPResponse,
  OCSPResponseStatus,
  Request,
  type SingleResponse,
  TBSRequest,
} from '@peculiar/asn1-ocsp';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  Certificate,
  ExtendedKeyUsage,
  id_ce_extKeyUsage,
  id_kp_OCSPSigning,
} from '@peculiar/asn1-x509';

/** How far the clocks may be apart, ms. */
const clockSkewMs = 300_000;
/** How long an answer that does not say how long it holds is used, ms. */
const undatedMs = 3_600_000;
const sha1 = '1.3.14.3.2.26';

const hashes: ReadonlyMap<string, string> = new Map([
  [sha1, 'sha1'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
]);

/** Signature algorithms by their identifier; null: the key says it all. */
const signatures: ReadonlyMap<string, string | null> = new Map([
  ['1.2.840.113549.1.1.5', 'sha1'],
  ['1.2.840.113549.1.1.11', 'sha256'],
  ['1.2.840.113549.1.1.12', 'sha384'],
  ['1.2.840.113549.1.1.13', 'sha512'],
  ['1.2.840.10045.4.3.2', 'sha256'],
  ['1.2.840.10045.4.3.3', 'sha384'],
  ['1.2.840.10045.4.3.4', 'sha512'],
  ['1.3.101.112', null],
  ['1.3.101.113', null],
]);

export interface OcspAnswer {
  readonly status: 'good' | 'revoked' | 'unknown';
  /** When it stops to hold, ms since 1970. */
  readonly expiresMs: number;
}

/** The request about `certificate`, DER. Without a nonce, so that responders may answer from a cache. */
export function ocspRequestOf(certificate: X509Certificate, issuer: X509Certificate): Buffer {
  const subject = AsnConvert.parse(certificate.raw, Certificate).tbsCertificate;
  const reqCert = new CertID({
    hashAlgorithm: new AlgorithmIdentifier({ algorithm: sha1, parameters: null }),
    issuerNameHash: new OctetString(digest('sha1', AsnConvert.serialize(subject.issuer))),
    issuerKeyHash: new OctetString(digest('sha1', publicKeyBits(issuer))),
    serialNumber: subject.serialNumber,
  });
  const tbsRequest = new TBSRequest({ requestList: [new Request({ reqCert })] });
  return Buffer.from(AsnConvert.serialize(new OCSPRequest({ tbsRequest })));
}

/** Address of the responder that the certificate names; null when it names none. */
export function responderOf(certificate: X509Certificate): string | null {
  for (const line of (certificate.infoAccess ?? '').split('\n')) {
    const url = /^OCSP - URI:(.+)$/.exec(line.trim())?.[1]?.replace(/^"|"$/g, '');
    if (url !== undefined && /^https?:\/\//i.test(url)) return url;
  }
  return null;
}

/**
 * Reads an answer about `certificate`. Throws an `Error` that says why it cannot be stapled: it is for another certificate,
 * not signed by the authority or a responder of its own, or out of its time.
 */
export function readOcspResponse(
  bytes: Uint8Array,
  certificate: X509Certificate,
  issuer: X509Certificate,
  nowMs: number,
): OcspAnswer {
  const response = parse(bytes, OCSPResponse);
  if (response.responseStatus !== OCSPResponseStatus.successful) {
    throw new Error(
      `the responder answers "${OCSPResponseStatus[response.responseStatus] ?? response.responseStatus}"`,
    );
  }
  const { responseBytes } = response;
  if (responseBytes === undefined || responseBytes.responseType !== id_pkix_ocsp_basic) {
    throw new Error('the response has no basic answer');
  }
  const basic = parse(new Uint8Array(responseBytes.response.buffer), BasicOCSPResponse);
  checkSignature(basic, issuer, nowMs);
  const single = basic.tbsResponseData.responses.find((each) => isAbout(each.certID, certificate, issuer));
  if (single === undefined) throw new Error('the response is about another certificate');
  const thisMs = single.thisUpdate.getTime();
  if (thisMs > nowMs + clockSkewMs) throw new Error('the response is from the future');
  const expiresMs = single.nextUpdate?.getTime() ?? thisMs + undatedMs;
  if (expiresMs <= nowMs) throw new Error('the response has expired');
  return { status: statusOf(single), expiresMs };
}

function statusOf({ certStatus }: SingleResponse): OcspAnswer['status'] {
  if (certStatus.good !== undefined) return 'good';
  return certStatus.revoked === undefined ? 'unknown' : 'revoked';
}

function isAbout(id: CertID, certificate: X509Certificate, issuer: X509Certificate): boolean {
  const hash = hashes.get(id.hashAlgorithm.algorithm);
  if (hash === undefined) return false;
  const subject = AsnConvert.parse(certificate.raw, Certificate).tbsCertificate;
  return (
    Buffer.from(id.serialNumber).equals(Buffer.from(subject.serialNumber)) &&
    Buffer.from(id.issuerNameHash.buffer).equals(digest(hash, AsnConvert.serialize(subject.issuer))) &&
    Buffer.from(id.issuerKeyHash.buffer).equals(digest(hash, publicKeyBits(issuer)))
  );
}

/** RFC 6960, section 4.2.2.2: signed by the authority, or by a responder to which the authority gave a certificate for it. */
function checkSignature(basic: BasicOCSPResponse, issuer: X509Certificate, nowMs: number): void {
  const { algorithm } = basic.signatureAlgorithm;
  const hash = signatures.get(algorithm);
  if (hash === undefined) throw new Error(`the response is signed with ${algorithm}, which is not known`);
  const signed = Buffer.from(basic.tbsResponseDataRaw ?? AsnConvert.serialize(basic.tbsResponseData));
  const signature = Buffer.from(basic.signature);
  const isSignedBy = (signer: X509Certificate): boolean => verify(hash, signed, signer.publicKey, signature);
  if (isSignedBy(issuer)) return;
  for (const each of basic.certs ?? []) {
    const signer = new X509Certificate(Buffer.from(AsnConvert.serialize(each)));
    if (mayAnswer(each, signer, issuer, nowMs) && isSignedBy(signer)) return;
  }
  throw new Error('the response is signed neither by the authority nor by a responder of its own');
}

function mayAnswer(parsed: Certificate, signer: X509Certificate, issuer: X509Certificate, nowMs: number): boolean {
  const usage = parsed.tbsCertificate.extensions?.find(({ extnID }) => extnID === id_ce_extKeyUsage);
  if (usage === undefined) return false;
  const mayAnswerOcsp = AsnConvert.parse(usage.extnValue.buffer, ExtendedKeyUsage).includes(id_kp_OCSPSigning);
  const isInTime = nowMs >= Date.parse(signer.validFrom) && nowMs <= Date.parse(signer.validTo);
  return mayAnswerOcsp && isInTime && signer.verify(issuer.publicKey);
}

function publicKeyBits(certificate: X509Certificate): ArrayBuffer {
  return AsnConvert.parse(certificate.raw, Certificate).tbsCertificate.subjectPublicKeyInfo.subjectPublicKey;
}

function digest(hash: string, data: ArrayBuffer): Buffer {
  return createHash(hash).update(Buffer.from(data)).digest();
}

function parse<T>(bytes: Uint8Array, type: new () => T): T {
  try {
    return AsnConvert.parse(bytes, type);
  } catch (error) {
    throw new Error('the response is not well formed', { cause: error });
  }
}
