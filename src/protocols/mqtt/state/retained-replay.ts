/**
 * Retained messages that one client is still to be sent, subscription by subscription. What a subscription matches is
 * looked up when its turn comes and not before: many subscriptions to many retained messages must not become a list of
 * their product. Pure; one per client while there is something to send, on the connection's worker.
 */

export class RetainedReplay<Request, Message> {
  private readonly match: (request: Request) => readonly Message[];
  private requests: Request[] = [];
  private requestIndex = 0;
  /** Whose messages are due. */
  private current: Request | null = null;
  private messages: readonly Message[] = [];
  private messageIndex = 0;

  constructor(match: (request: Request) => readonly Message[]) {
    this.match = match;
  }

  add(request: Request): void {
    this.requests.push(request);
  }

  /** Subscriptions that were not looked up yet. */
  get waitingCount(): number {
    return this.requests.length - this.requestIndex;
  }

  /** The message whose turn it is; undefined when the next subscription has to be looked up first. */
  get due(): Message | undefined {
    return this.messages[this.messageIndex];
  }

  /** The message that was due has been sent. */
  sent(): void {
    this.messageIndex++;
  }

  /** Leaves out the subscriptions that `isUnwanted` says so of. */
  drop(isUnwanted: (request: Request) => boolean): void {
    const { requestIndex, requests, current } = this;
    if (current !== null && isUnwanted(current)) {
      this.messages = [];
      this.messageIndex = 0;
    }
    this.requests = requests.slice(requestIndex).filter((request) => !isUnwanted(request));
    this.requestIndex = 0;
  }

  /** Looks up the next subscription; false when there is none, and all is done. */
  lookUp(): boolean {
    const { requests, requestIndex } = this;
    if (requestIndex === requests.length) return false;
    this.requestIndex++;
    this.current = requests[requestIndex];
    this.messages = this.match(requests[requestIndex]);
    this.messageIndex = 0;
    if (this.requestIndex === requests.length) {
      this.requests = [];
      this.requestIndex = 0;
    }
    return true;
  }
}
