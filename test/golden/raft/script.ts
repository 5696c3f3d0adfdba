/**
 * The test language of the consensus core: a scenario is a text file of comments and commands, each command followed by what
 * it does. README.md beside this file explains the commands.
 */
import type { MemberChange, Message, ReplicaId } from '../../../src/raft/consensus/types.ts';
import {
  command,
  defaultOptions,
  membershipOf,
  positionOf,
  type TestOptions,
  TestReplica,
} from '../../support/consensus/test-replica.ts';
import { formatEntries, formatMembership, formatMessage, formatPosition, formatReady } from './format.ts';

type Handler = (words: readonly string[]) => void;

/** Runs every command of a scenario and answers the text with what the commands print now. */
export function replay(text: string): string {
  const script = new Script();
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('  ')) continue;
    lines.push(line);
    if (line.startsWith('> ')) lines.push(...script.run(line.slice(2)).map((output) => `  ${output}`));
  }
  return lines.join('\n');
}

class Script {
  readonly #replicas = new Map<ReplicaId, TestReplica>();
  #options: TestOptions = {};
  #start = positionOf(0, 0, membershipOf([]));
  #network: Message[] = [];
  /** Links that lose everything, as `from->to`, or one type of message, as `from->to:type`. */
  readonly #cut = new Set<string>();
  #output: string[] = [];

  readonly #handlers: Readonly<Record<string, Handler>> = {
    group: (words) => this.#group(words),
    add: ([id]) => this.#add(Number(id)),
    campaign: ([id]) => this.#at(id).core.campaign(),
    tick: ([id, times]) => this.#tick(id, Number(times ?? 1)),
    propose: ([id, ...texts]) => this.#say(this.#at(id).core.propose(texts.map(command))),
    change: ([id, ...changes]) => this.#change(id, changes),
    read: ([id, context]) => this.#say(this.#at(id).core.readIndex(Number(context)) ? 'asked' : 'no leader'),
    transfer: ([id, target]) => this.#at(id).core.transferLeadership(Number(target)),
    unreachable: ([id, peer]) => this.#at(id).core.reportUnreachable(Number(peer)),
    'snapshot-ended': ([id, peer, how]) => this.#at(id).core.reportSnapshot(Number(peer), how === 'arrived'),
    take: ([id]) => this.#take(this.#at(id)),
    persist: ([id, rounds]) => this.#persist(this.#at(id), Number(rounds ?? this.#at(id).rounds.length)),
    apply: ([id]) => this.#apply(this.#at(id)),
    tell: ([id]) => this.#tell(this.#at(id)),
    deliver: (words) => this.#deliverMatching(words, (message) => this.#deliver(message)),
    repeat: (words) => this.#repeat(words),
    lose: (words) => this.#deliverMatching(words, () => {}),
    hold: (words) => this.#hold(words),
    cut: (links) => this.#forLinks(links, (link) => this.#cut.add(link)),
    heal: () => this.#cut.clear(),
    stabilize: (words) => this.#stabilize(words),
    compact: ([id]) => this.#compact(this.#at(id)),
    offer: ([id]) => this.#offer(this.#at(id)),
    crash: ([id]) => this.#at(id).crashAndRestart(),
    status: ([id]) => this.#status(this.#at(id)),
    progress: ([id]) => this.#progress(this.#at(id)),
    log: ([id]) => this.#log(this.#at(id)),
    network: () => this.#listNetwork(),
  };

  run(line: string): readonly string[] {
    this.#output = [];
    const [name, ...words] = line.trim().split(/\s+/);
    const handler = this.#handlers[name!];
    if (handler === undefined) throw new Error(`Cannot run "${line}": there is no such command`);
    handler(words);
    return this.#output;
  }

  #say(line: string): void {
    this.#output.push(line);
  }

  #at(id: string | undefined): TestReplica {
    const replica = this.#replicas.get(Number(id));
    if (replica === undefined) throw new Error(`Cannot find replica "${id}"`);
    return replica;
  }

  #group(words: readonly string[]): void {
    const settings = new Map(words.map((word) => word.split('=') as [string, string]));
    const ids = (name: string) => (settings.get(name) ?? '').split(',').filter(Boolean).map(Number);
    const numbers = Object.keys(defaultOptions).filter((name) => settings.has(name));
    this.#options = Object.fromEntries(numbers.map((name) => [name, Number(settings.get(name))]));
    this.#start = positionOf(0, 0, membershipOf(ids('voters'), ids('learners')));
    for (const id of [...ids('voters'), ...ids('learners')]) this.#add(id);
  }

  #add(id: ReplicaId): void {
    this.#replicas.set(id, new TestReplica(id, this.#start, this.#options));
  }

  #tick(id: string | undefined, times: number): void {
    for (let i = 0; i < times; i++) this.#at(id).core.tick();
  }

  #change(id: string | undefined, words: readonly string[]): void {
    const changes = words
      .filter((word) => word !== 'leave')
      .map((word): MemberChange => {
        const [action, replica] = word.split(':');
        return { action: action as MemberChange['action'], replica: Number(replica) };
      });
    this.#say(this.#at(id).core.proposeMembership({ changes, context: new Uint8Array(0) }));
  }

  #take(replica: TestReplica): void {
    if (!replica.core.hasReady()) {
      this.#say(`${replica.id} has nothing to do`);
      return;
    }
    this.#output.push(...formatReady(replica.id, replica.take()));
    this.#post(replica);
  }

  #persist(replica: TestReplica, rounds: number): void {
    for (let i = 0; i < rounds; i++) {
      const round = replica.persistOne();
      this.#say(`round ${round.number} of ${replica.id} is durable`);
      for (const message of round.messagesAfterPersist) this.#say(`  send: ${formatMessage(message)}`);
    }
    this.#post(replica);
  }

  #apply(replica: TestReplica): void {
    const before = replica.state.membership;
    replica.apply();
    this.#say(`${replica.id} has applied ${replica.state.index}`);
    if (replica.state.membership !== before) this.#say(`  membership: ${formatMembership(replica.state.membership)}`);
  }

  #tell(replica: TestReplica): void {
    replica.core.tellCommit(replica.core.status().commit);
  }

  #post(replica: TestReplica): void {
    for (const message of replica.outbox) {
      const link = `${message.from}->${message.to}`;
      if (!this.#cut.has(link) && !this.#cut.has(`${link}:${message.type}`)) this.#network.push(message);
    }
    replica.outbox = [];
  }

  #deliver(message: Message): void {
    this.#say(formatMessage(message));
    this.#replicas.get(message.to)?.receive(message);
  }

  /** Words: `from->to` with `*` for anybody, a type; the matching messages leave the network, in order. */
  #deliverMatching(words: readonly string[], handle: (message: Message) => void): void {
    const matching = this.#network.filter((message) => isMatch(message, words));
    this.#network = this.#network.filter((message) => !matching.includes(message));
    for (const message of matching) handle(message);
    if (matching.length === 0) this.#say('nothing');
  }

  /** Delivers, and leaves a copy under way. */
  #repeat(words: readonly string[]): void {
    const matching = this.#network.filter((message) => isMatch(message, words));
    for (const message of matching) this.#deliver(message);
  }

  /** Puts the matching messages behind all others. */
  #hold(words: readonly string[]): void {
    const held = this.#network.filter((message) => isMatch(message, words));
    this.#network = [...this.#network.filter((message) => !held.includes(message)), ...held];
  }

  #forLinks(links: readonly string[], each: (link: string) => void): void {
    for (const link of links) {
      const [a, b] = link.split(/<?->/);
      each(`${a}->${b}`);
      if (link.includes('<->')) each(`${b}->${a}`);
    }
  }

  /** Everybody does everything until nothing is under way. With ids: only they. With `quietly`: without a log. */
  #stabilize(words: readonly string[]): void {
    const ids = words.filter((word) => word !== 'quietly').map(Number);
    const replicas = [...this.#replicas.values()].filter(({ id }) => ids.length === 0 || ids.includes(id));
    for (let round = 0; round < 200; round++) {
      for (const replica of replicas) this.#drive(replica);
      const messages = this.#network.filter(({ to }) => replicas.some(({ id }) => id === to));
      if (messages.length === 0) break;
      this.#network = this.#network.filter((message) => !messages.includes(message));
      for (const message of messages) this.#deliverAndReport(message);
    }
    if (words.includes('quietly')) this.#output = [];
  }

  #drive(replica: TestReplica): void {
    while (replica.core.hasReady() || replica.rounds.length > 0 || replica.committed.length > 0) {
      if (replica.core.hasReady()) this.#take(replica);
      if (replica.rounds.length > 0) this.#persist(replica, replica.rounds.length);
      if (replica.committed.length > 0) this.#apply(replica);
    }
  }

  #deliverAndReport(message: Message): void {
    this.#deliver(message);
    if (message.type === 'snapshot') this.#replicas.get(message.from)?.core.reportSnapshot(message.to, true);
  }

  #compact(replica: TestReplica): void {
    replica.compact();
    this.#say(`the log of ${replica.id} begins after ${replica.state.index}`);
  }

  /** Snapshots are sent at today's position from now on, however old it gets. */
  #offer(replica: TestReplica): void {
    replica.log.offered = replica.state;
    this.#say(formatPosition(replica.state));
  }

  #status(replica: TestReplica): void {
    const { role, term, leader, commit, applied, lastIndex, membership } = replica.core.status();
    this.#say(`${role} term=${term} leader=${leader} commit=${commit} applied=${applied} last=${lastIndex}`);
    this.#say(formatMembership(membership));
  }

  #progress(replica: TestReplica): void {
    for (const [id, { match, next, state, isActive }] of replica.core.status().progress) {
      this.#say(`${id}: ${state} match=${match} next=${next}${isActive ? '' : ' inactive'}`);
    }
  }

  #log(replica: TestReplica): void {
    this.#say(formatPosition(replica.log.initialState().snapshot));
    this.#say(formatEntries(replica.log.all()));
  }

  #listNetwork(): void {
    for (const message of this.#network) this.#say(formatMessage(message));
    if (this.#network.length === 0) this.#say('nothing');
  }
}

function isMatch(message: Message, words: readonly string[]): boolean {
  return words.every((word) => {
    if (!word.includes('->')) return message.type === word;
    const [from, to] = word.split('->');
    return (from === '*' || Number(from) === message.from) && (to === '*' || Number(to) === message.to);
  });
}
