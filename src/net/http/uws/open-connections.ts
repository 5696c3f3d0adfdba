/** Counts the HTTP connections of one uWebSockets.js app and refuses those that are too many. Thread: that of the app. */
import type { HttpResponse, TemplatedApp } from 'uWebSockets.js';

export class OpenConnections {
  #count = 0;

  /** `admit` is asked for each new connection, before it counts; one that it refuses is closed at once. */
  constructor(app: TemplatedApp, admit: () => boolean) {
    const onChange = (response: HttpResponse, change: unknown): void => {
      if (change === -1) {
        this.#count--;
        return;
      }
      const admitted = admit();
      this.#count++;
      if (!admitted) response.close();
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
