/**
 * `GET /api/v1/listeners`: where the node listens. `POST /api/v1/listeners/reload`: reads certificates, keys and revocation
 * lists of its TLS listeners again. Lives on the main thread.
 */
import type { HttpRoute } from '../../net/http/port.ts';
import { json } from './response.ts';

export interface ListenersSource {
  listeners(): readonly {
    readonly name: string;
    readonly protocol: string;
    readonly transport: string;
    readonly address: string;
  }[];
  /** One entry for each TLS listener; `problem` says why its former files stay in use, or is null. */
  reloadTls(): Promise<readonly { readonly listener: string; readonly problem: string | null }[]>;
}

export function listenersRoutes(source: ListenersSource): readonly HttpRoute[] {
  return [
    {
      method: 'GET',
      path: '/api/v1/listeners',
      handler: () => json(200, { listeners: source.listeners() }),
    },
    {
      method: 'POST',
      path: '/api/v1/listeners/reload',
      // 422: the files are there to be mended, and a caller that looks at the status alone must not take it for done.
      handler: async () => {
        const listeners = await source.reloadTls();
        return json(listeners.every(({ problem }) => problem === null) ? 200 : 422, { listeners });
      },
    },
  ];
}
