/**
 * The mechanism `certificate`: a client that showed a verified certificate in the TLS handshake is who the certificate says.
 * Lives on the main thread. Which part of it is the name of the user is configured.
 *
 * A client that gives a name and a password as well is judged by the mechanism that stands first in the configured order.
 */
import type { LoginRequest } from '../../core/ports/access.ts';
import type { PeerCertificate } from '../../core/ports/connection.ts';
import { userNameError } from '../account-names.ts';
import {
  atOnce,
  type Mechanism,
  type MechanismFactory,
  type MechanismSettings,
  type MechanismStep,
  type MechanismTools,
  refused,
} from '../mechanism.ts';

/** SASL's name for "who the layer below says" (RFC 4422, appendix A). */
const external = 'EXTERNAL';

class CertificateMechanism implements Mechanism {
  readonly name = 'certificate';
  readonly methods = [external];
  readonly #tools: MechanismTools;

  constructor(tools: MechanismTools) {
    this.#tools = tools;
  }

  begin({ tenant, certificate, method }: LoginRequest): ReturnType<Mechanism['begin']> {
    if (method !== undefined && method !== external) return null;
    if (certificate?.verified !== true) {
      if (method === undefined) return null;
      return atOnce(async () => refused('bad-credentials', 'There is no verified certificate'));
    }
    return { step: (data) => this.#check(tenant, certificate, method === external ? data : null) };
  }

  async #check(tenant: string, certificate: PeerCertificate, asked: Uint8Array | null): Promise<MechanismStep> {
    const { accounts, settings } = this.#tools;
    const user = nameIn(certificate, settings.certificateName);
    if (userNameError(user) !== undefined) {
      return refused('bad-credentials', `The certificate has no usable ${settings.certificateName}`);
    }
    if (asked !== null && asked.length > 0 && Buffer.from(asked).toString('utf8') !== user) {
      return refused('not-authorized', 'A client cannot act for another user');
    }
    const account = await accounts.find(tenant, user);
    if (account === null && settings.certificateNeedsAccount) {
      return refused('bad-credentials', `There is no account for the certificate of "${user}"`);
    }
    return { type: 'accepted', user, account, data: null };
  }
}

function nameIn(certificate: PeerCertificate, part: MechanismSettings['certificateName']): string {
  const alternative = (kind: string): string => {
    const found = certificate.subjectAltNames.find((name) => name.startsWith(kind));
    return found === undefined ? '' : found.slice(kind.length);
  };
  switch (part) {
    case 'common-name':
      return certificate.commonName;
    case 'subject':
      return certificate.subject;
    case 'fingerprint':
      return certificate.fingerprint256;
    case 'dns-name':
      return alternative('DNS:');
    case 'email':
      return alternative('email:');
  }
}

export const certificate: MechanismFactory = {
  name: 'certificate',
  create: (tools) => new CertificateMechanism(tools),
};
