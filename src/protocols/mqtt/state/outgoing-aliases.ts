/** Topic aliases that the broker defines for one connection (3.3.2.3.4). Pure; on the connection's worker. */

export class OutgoingAliases {
  readonly maximum: number;
  /** Set by `lookup`: the client knows the alias already, so that the topic can be left empty. */
  isKnown = false;
  private readonly aliases = new Map<string, number>();

  constructor(maximum: number) {
    this.maximum = maximum;
  }

  /** The alias of the topic, or 0 when all are taken. A new one counts as known from now on: send topic and alias. */
  lookup(topic: string): number {
    const alias = this.aliases.get(topic);
    if (alias !== undefined) {
      this.isKnown = true;
      return alias;
    }
    this.isKnown = false;
    if (this.aliases.size >= this.maximum) return 0;
    this.aliases.set(topic, this.aliases.size + 1);
    return this.aliases.size;
  }
}
