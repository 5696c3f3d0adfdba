/** Settings of access control: section `access`. Main thread; part of the node's schema. */
import { boolean, choice, integer, list, optional, section, text } from '../core/settings/schema-builders.ts';

/** The names in the order in which they are asked as a default; a unit test compares them with the registry. */
export const mechanismNames = ['scram', 'password', 'certificate', 'anonymous'] as const;

export const accessSchema = section(
  {
    mechanisms: list(choice([...mechanismNames], { description: 'A mechanism.' }), {
      description:
        'How clients may prove who they are, in the order in which it is tried. The first one that a client gives something for decides.',
      default: [...mechanismNames],
      minItems: 1,
      maxItems: mechanismNames.length,
    }),
    anonymous: choice(['loopback', 'always', 'never'], {
      description: 'Where clients without a name may come from: this machine alone, everywhere, or nowhere.',
      default: 'loopback',
    }),
    unmatched: choice(['allow', 'deny'], {
      description: 'What happens to a client that was let in when no rule speaks of what it does.',
      default: 'allow',
    }),
    rulesFile: optional(
      text({
        description:
          'YAML file with rules that are asked before those of the cluster. Read again when it changes and on SIGHUP. Without rules in it, or unreadable at the start, it denies everything.',
        minLength: 1,
        maxLength: 4_096,
      }),
    ),
    certificateName: choice(['common-name', 'subject', 'dns-name', 'email', 'fingerprint'], {
      description: "Which part of a client's certificate is the name of the user.",
      default: 'common-name',
    }),
    certificateNeedsAccount: boolean({
      description: 'Whether a verified certificate lets in only when there is a user of its name.',
      default: false,
    }),
    failuresMax: integer({
      description:
        'Failed logins of one user from one address within `failureWindowS`; then further ones are refused unseen. Ten times as many for an address as a whole. 0: no limit.',
      default: 10,
      minimum: 0,
      maximum: 1_000_000,
    }),
    failureWindowS: integer({
      description: 'The window of `failuresMax`, seconds.',
      default: 60,
      minimum: 1,
      maximum: 86_400,
    }),
    loginsWaitingMax: integer({
      description: 'Passwords that may wait to be checked; beyond it logins are refused as busy.',
      default: 250,
      minimum: 1,
      maximum: 250,
    }),
    passwordCacheS: integer({
      description:
        'How long a right password is remembered in memory, as a keyed hash, so that many clients can come back at once; seconds. 0: never.',
      default: 300,
      minimum: 0,
      maximum: 86_400,
    }),
    deniedPublish: choice(['drop', 'disconnect'], {
      description:
        'A publication that is denied and has no answer that could say so: dropped and counted, or the client is cut.',
      default: 'drop',
    }),
    revokedSubscription: choice(['tell', 'remove'], {
      description:
        'A subscription that new rules deny always ends. `tell`: a client whose protocol has words for it is disconnected with them; `remove`: no client is.',
      default: 'tell',
    }),
    flapping: section(
      {
        connectsMax: integer({
          description: 'A client id that connects more often than this within `windowS` is blocked; 0 switches it off.',
          default: 0,
          minimum: 0,
          maximum: 1_000_000,
        }),
        windowS: integer({ description: 'The window, seconds.', default: 60, minimum: 1, maximum: 86_400 }),
        blockS: integer({
          description: 'How long it is blocked, seconds.',
          default: 300,
          minimum: 1,
          maximum: 31_536_000,
        }),
      },
      { description: 'Clients that connect again and again.' },
    ),
  },
  { description: 'Who may connect, publish and subscribe.' },
);
