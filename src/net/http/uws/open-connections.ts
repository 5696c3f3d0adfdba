/** Counts the HTTP connections of one uWebSockets.js app and refuses those that are too many. Thread: that of the app. */
import type { HttpResponse, TemplatedApp } from 'uWebSockets.js';

export class OpenConnections {
  #count = 0;

  /** One that was refused ends within the call that closes it. */
  #isRefusing = false;

  /**
   * `admit` is asked for each new connection, before it counts; one that it refuses is closed at once. `ended` is told of
   * the end of each other one that did not become a WebSocket.
   */
  constructor(app: TemplatedApp, admit: () => boolean, ended: () => void = () => undefined) {
    const onChange = (response: HttpResponse, change: unknown): void => {
      if (change === -1) {
        this.#count--;
        if (!this.#isRefusing) ended();
        return;
      }
      const admitted = admit();
      this.#count++;
      if (admitted) return;
      this.#isRefusing = true;
      response.close();
      this.#isRefusing = false;
    };
    // The library lends the connection for the duration of the call: it cannot be kept and closed later.
    app.filter(onChange);
  }

  get count(): number {
    return this.#count;
  }

  /** A connection became a WebSocket; the filter does not hear of its end. */
  upgraded(): void {
    this.#count--;
  }
}
