/**
 * The settings of listeners: address, transport, limits, TLS, WebSocket, PROXY protocol; and what no single one of them can
 * be wrong about alone. Main thread; part of the schema in `schema.ts`.
 */
import type { Static } from 'typebox';
import { tenancySources } from '../core/ports/connection.ts';
import { boolean, choice, integer, list, section, text } from '../core/settings/schema-builders.ts';
import { tenantCharactersMax } from '../core/tenants/tenant-names.ts';
import { defaultHost, parseUnixAddress } from './address.ts';
import { formatPath, type SettingPath } from './json-schema.ts';
import { parseNetwork } from './network.ts';
import type { Origin, Problems } from './source.ts';

const file = (description: string) => text({ description, default: '', maxLength: 4096, pattern: '^[^\\u0000]*$' });
const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  integer({ description, default: fallback, minimum, maximum });
const rate = (description: string) => whole(0, 1_000_000_000_000, 0, description);

/** Certificate, key and authorities that listeners without files of their own use. */
export const tlsFilesSchema = section(
  {
    certificate: file('File with the certificate and its chain, PEM.'),
    key: file('File with its private key, PEM.'),
    keyPasswordFile: file('File with the password of an encrypted key, one line.'),
    ca: file('File with the authorities that sign client certificates, PEM.'),
  },
  { description: 'TLS of all listeners that name no files of their own. The files are read again when they change.' },
);

const listenerTlsSchema = section(
  {
    certificate: file('File with the certificate and its chain, PEM. Empty: that of `tls`.'),
    key: file('File with its private key, PEM.'),
    keyPasswordFile: file('File with the password of an encrypted key, one line.'),
    names: list(
      section(
        {
          certificate: file('File with the certificate and its chain, PEM.'),
          key: file('File with its private key, PEM.'),
          keyPasswordFile: file('File with the password of an encrypted key, one line.'),
        },
        { description: 'A further certificate.' },
      ),
      {
        description: 'Further certificates; a client gets the one with the name that it asks for (SNI), or the first.',
        default: [],
        maxItems: 256,
      },
    ),
    clientCertificate: choice(['none', 'optional', 'required'], {
      description:
        'Whether clients are asked for a certificate. One that is shown must be in order, also with "optional".',
      default: 'none',
    }),
    ca: file('File with the authorities that sign client certificates, PEM. Empty: that of `tls`.'),
    crl: file('File with revocation lists, PEM, one for each authority. Empty: none is checked.'),
    minVersion: choice(['TLSv1.2', 'TLSv1.3'], { description: 'Oldest version that is spoken.', default: 'TLSv1.2' }),
    ciphers: text({
      description: "Cipher suites in OpenSSL's notation. Empty: TLS 1.3 and forward-secret AEAD suites of TLS 1.2.",
      default: '',
      maxLength: 4096,
    }),
    curves: text({
      description: "Groups of the key exchange, by preference, separated by colons. Empty: OpenSSL's choice.",
      default: '',
      maxLength: 1024,
    }),
    sessionTickets: boolean({
      description: 'Whether clients may resume a session with a ticket, on any worker.',
      default: true,
    }),
    sessionTimeoutS: whole(60, 604_800, 7_200, 'How long a session may be resumed, s.'),
    ticketRotationS: whole(60, 604_800, 43_200, 'How often the keys of the tickets are replaced, s.'),
    ocsp: choice(['off', 'fetch', 'file'], {
      description: 'Where the stapled OCSP response comes from: nowhere, from the responder, or from a file.',
      default: 'off',
    }),
    ocspResponder: text({
      description: 'Address of the responder, http:// or https://. Empty: the one that the certificate names.',
      default: '',
      maxLength: 2048,
      pattern: '^(https?://.*)?$',
    }),
    ocspFile: file('File with the OCSP response for the first certificate, DER.'),
  },
  { description: 'TLS of a listener with the transport `tls` or `wss`.' },
);

const webSocketSchema = section(
  {
    path: text({
      description: "Path of the upgrade request. Empty: the protocol's own.",
      default: '',
      maxLength: 1024,
      pattern: '^(/[^?#\\s\\u0000]*)?$',
    }),
    originsAllowed: list(text({ description: 'An origin, or `*`.', minLength: 1, maxLength: 512 }), {
      description:
        "Origins of web pages that may connect. Empty: pages that this listener's own host serves. Clients that send no origin are no web pages and may always connect.",
      default: [],
      maxItems: 256,
    }),
    messageBytesMax: whole(
      128,
      1_073_741_824,
      1_048_576,
      'Largest message, bytes, of all its frames together; a larger one ends the connection with code 1009.',
    ),
    idleTimeoutMs: whole(
      0,
      3_600_000,
      120_000,
      'A client that sends nothing for so long, not even the answer to a ping, is cut, ms; 0: the protocol alone decides.',
    ),
    adapter: choice(['node', 'uws'], {
      description:
        'Implementation for the transport `ws`: the one on node:http, or uWebSockets.js, which can neither be slowed down by back-pressure nor be replaced when its worker hangs.',
      default: 'node',
    }),
  },
  { description: 'WebSocket of a listener with the transport `ws` or `wss`.' },
);

const proxySchema = section(
  {
    enabled: boolean({
      description: 'Whether every connection begins with a header of the PROXY protocol, version 1 or 2.',
      default: false,
    }),
    trusted: list(text({ description: 'A network, as in 10.0.0.0/8 or ::1/128.', minLength: 1, maxLength: 64 }), {
      description: 'Networks of the proxies; a connection from anywhere else is refused.',
      default: [],
      maxItems: 256,
    }),
    headerTimeoutMs: whole(100, 600_000, 5_000, 'Time for the header, ms.'),
  },
  { description: 'A proxy in front of the listener that tells who the client is.' },
);

const tenantText = (description: string, minLength: number) =>
  text({ description, minLength, maxLength: tenantCharactersMax, pattern: '^[^\\u0000]*$' });

const tenantSchema = section(
  {
    name: text({
      description:
        'The tenant of all its clients; when `from` says so, of those whose value is not in `names`, and empty then means that they are refused. Empty without `from`: clients are in the default tenant, or the one that the settings of the protocol let them choose.',
      default: '',
      maxLength: tenantCharactersMax,
      pattern: '^[^\\u0000]*$',
    }),
    from: choice([...tenancySources], {
      description:
        'What decides: the listener alone, the host name that a client asked TLS or the proxy for (SNI), or a part of its verified certificate.',
      default: 'listener',
    }),
    names: list(
      section(
        {
          value: text({
            description: 'The host name, or the part of the certificate, as a whole.',
            minLength: 1,
            maxLength: 1_024,
          }),
          tenant: tenantText('The tenant that it stands for.', 1),
        },
        { description: 'What one value stands for.' },
      ),
      { description: 'Which values stand for which tenants.', default: [], maxItems: 10_000 },
    ),
  },
  { description: 'Which tenant the clients of the listener are in. They can choose no other.' },
);

/** One listener; `protocols` are the names of the registered ones. */
export function createListenerSchema(protocols: readonly string[]) {
  return section(
    {
      name: text({
        description: 'Unique name; a label of the metrics.',
        pattern: '^[a-z0-9][a-z0-9._-]*$',
        minLength: 1,
        maxLength: 64,
      }),
      protocol: choice([...protocols], { description: 'What is spoken on it.' }),
      transport: choice(['tcp', 'tls', 'ws', 'wss', 'unix'], {
        description: 'What carries it: TCP, TLS, WebSocket, WebSocket over TLS, or a Unix socket.',
        default: 'tcp',
      }),
      address: text({
        description: `Address \`host:port\`, or \`unix:/path\` of a socket file. Without a host it is ${defaultHost}; port 0 takes a free one.`,
        format: 'listen-address',
        examples: ['127.0.0.1:1883', '[::1]:1883', '0.0.0.0:1883', 'unix:/run/ringmq.sock'],
      }),
      socketMode: text({
        description: 'Permissions of the socket file, octal.',
        default: '0660',
        pattern: '^0?[0-7]{3}$',
      }),
      connectionsMax: whole(0, 10_000_000, 0, 'Connections of this listener; 0 leaves only the limit of the node.'),
      backlog: whole(
        1,
        65_535,
        1024,
        'Connections that may wait in the kernel until they are accepted; the kernel has its own bound as well.',
      ),
      acceptRatePerS: whole(
        0,
        1_000_000,
        0,
        'New connections per second that are accepted, others are refused; 0 leaves only the limit of the node.',
      ),
      acceptBurst: whole(
        0,
        1_000_000,
        0,
        'New connections that may come at once within the rate; 0 takes as many as in one second.',
      ),
      receiveBytesPerS: rate(
        'Bytes per second that all its connections together may send; beyond it they are read slower; 0 is no limit.',
      ),
      connectionReceiveBytesPerS: rate(
        'Bytes per second that one connection may send; beyond it it is read slower; 0 is no limit.',
      ),
      handshakeTimeoutMs: whole(
        0,
        600_000,
        0,
        "Time for the TLS hand-shake, for the WebSocket upgrade, and for the protocol's own, each, ms; 0: that of `limits`.",
      ),
      tls: listenerTlsSchema,
      webSocket: webSocketSchema,
      proxyProtocol: proxySchema,
      tenant: tenantSchema,
    },
    { description: 'A port that is listened on.' },
  );
}

export type ListenerSettings = Static<ReturnType<typeof createListenerSchema>>;
type TlsFiles = Static<typeof tlsFilesSchema>;

/** What the settings of one listener say against each other. */
export function checkListener(
  listener: ListenerSettings,
  index: number,
  shared: TlsFiles,
  originOf: (path: SettingPath) => Origin,
  problems: Problems,
): void {
  const place = formatPath(['listeners', index]);
  const refuse = (key: string, why: string): void => {
    problems.add(originOf(['listeners', index, ...key.split('.')]), `Cannot use "${place}.${key}": ${why}`);
  };
  const isUnix = parseUnixAddress(listener.address) !== undefined;
  const { transport } = listener;
  if (transport === 'unix' && !isUnix) refuse('address', 'the transport "unix" needs an address such as unix:/path');
  if (transport === 'tcp' && isUnix)
    refuse('transport', 'a Unix socket needs the transport "unix", "tls", "ws" or "wss"');
  if (transport === 'tls' || transport === 'wss') checkTls(listener.tls, shared, refuse);
  checkProxy(listener.proxyProtocol, isUnix, refuse);
  checkTenant(listener, refuse);
  for (const [position, origin] of listener.webSocket.originsAllowed.entries()) {
    if (origin !== '*' && !isOrigin(origin)) {
      refuse(`webSocket.originsAllowed.${position}`, `"${origin}" is no origin such as https://example.com`);
    }
  }
  if (listener.webSocket.adapter === 'uws' && (transport !== 'ws' || isUnix || listener.proxyProtocol.enabled)) {
    refuse(
      'webSocket.adapter',
      '"uws" serves the transport "ws" on a TCP port without the PROXY protocol, nothing else',
    );
  }
  if (listener.webSocket.adapter === 'uws' && listener.acceptRatePerS === 0 && listener.acceptBurst > 0) {
    refuse('acceptBurst', 'there is no "acceptRatePerS" that it could belong to');
  }
}

function checkTls(tls: ListenerSettings['tls'], shared: TlsFiles, refuse: (key: string, why: string) => void): void {
  const ownFiles = [tls.certificate, tls.key].filter((name) => name !== '').length;
  if (ownFiles === 1) refuse('tls.certificate', '"certificate" and "key" belong together');
  if (ownFiles === 0 && (shared.certificate === '' || shared.key === '')) {
    refuse('tls.certificate', 'TLS needs a certificate and a key, here or in "tls"');
  }
  for (const [position, name] of tls.names.entries()) {
    if (name.certificate === '' || name.key === '') {
      refuse(`tls.names.${position}.certificate`, '"certificate" and "key" belong together');
    }
  }
  const asks = tls.clientCertificate !== 'none';
  if (asks && tls.ca === '' && shared.ca === '') {
    refuse('tls.clientCertificate', 'client certificates need an authority, "ca" here or in "tls"');
  }
  if (!asks && tls.crl !== '') refuse('tls.crl', 'no client certificate is asked for, so nothing would be checked');
  if (tls.ocsp === 'file' && tls.ocspFile === '') refuse('tls.ocsp', '"ocspFile" is missing');
}

function checkProxy(
  proxy: ListenerSettings['proxyProtocol'],
  isUnix: boolean,
  refuse: (key: string, why: string) => void,
): void {
  for (const [position, network] of proxy.trusted.entries()) {
    if (parseNetwork(network) === undefined) {
      refuse(`proxyProtocol.trusted.${position}`, `"${network}" is no network such as 10.0.0.0/8 or fd00::/8`);
    }
  }
  // Whoever may open the socket file is trusted by its permissions.
  if (proxy.enabled && proxy.trusted.length === 0 && !isUnix) {
    refuse('proxyProtocol.trusted', 'without a network of proxies every connection would be refused');
  }
}

/** What decides must be something that the listener can know. */
function checkTenant(
  { tenant, tls, transport, proxyProtocol }: ListenerSettings,
  refuse: (key: string, why: string) => void,
): void {
  const { name, from, names } = tenant;
  const isSecure = transport === 'tls' || transport === 'wss';
  if (!name.isWellFormed()) refuse('tenant.name', 'it is not well-formed Unicode');
  if (from === 'listener') {
    if (names.length > 0) refuse('tenant.names', '"from" does not say what they are names of');
    return;
  }
  if (names.length === 0)
    refuse('tenant.names', `with "from: ${from}" it has to say which names stand for which tenants`);
  if (from === 'server-name' && !isSecure && !proxyProtocol.enabled)
    refuse('tenant.from', 'only TLS and the PROXY protocol tell the host name');
  const isAsked = isSecure && tls.clientCertificate !== 'none';
  const isTold = from === 'certificate-common-name' && proxyProtocol.enabled;
  if (from !== 'server-name' && !isAsked && !isTold)
    refuse(
      'tenant.from',
      'no client certificate is asked for, and of one that a proxy has seen only the common name is known',
    );
  const known = new Set<string>();
  for (const [position, { value, tenant: target }] of names.entries()) {
    const own = from === 'server-name' ? value.toLowerCase() : value;
    if (known.has(own)) refuse(`tenant.names.${position}.value`, `"${value}" is there twice`);
    known.add(own);
    if (!target.isWellFormed()) refuse(`tenant.names.${position}.tenant`, 'it is not well-formed Unicode');
  }
}

function isOrigin(value: string): boolean {
  try {
    const url = new URL(value);
    return (url.protocol === 'http:' || url.protocol === 'https:') && url.origin === value.toLowerCase();
  } catch {
    return false;
  }
}
