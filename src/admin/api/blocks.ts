/**
 * The block list. Lives on the main thread.
 *
 * `GET /api/v1/blocks` lists it, `POST` there blocks a client id, a user or an address, for `seconds` or for good, and
 * `POST …/delete` lets it in again.
 */
import type { AccessAdministration } from '../../core/ports/access-administration.ts';
import type { HttpRoute } from '../../net/http/port.ts';
import { accessRoute } from './access-failure.ts';
import { tenantOf, textOr, wordIn } from './access-fields.ts';
import { json } from './response.ts';
import { Fields } from './streams-fields.ts';

const PATH = '/api/v1/blocks';
const kinds = ['client', 'user', 'address'] as const;
const secondsMax = 3_155_760_000;

export function blocksRoutes(access: AccessAdministration): readonly HttpRoute[] {
  return [
    accessRoute('GET', PATH, async (request) =>
      json(200, { blocks: await access.blocks(tenantOf(Fields.ofQuery(request, ['tenant']))) }),
    ),
    accessRoute('POST', PATH, async (request) => {
      const fields = Fields.ofBody(request, ['tenant', 'kind', 'value', 'reason', 'seconds']);
      const seconds = fields.integer('seconds', 0, 1, secondsMax);
      const block = {
        tenant: tenantOf(fields),
        kind: wordIn(fields, 'kind', kinds),
        value: fields.text('value'),
        reason: textOr(fields, 'reason', ''),
        untilMs: seconds === 0 ? 0 : Date.now() + seconds * 1_000,
      };
      await access.addBlock(block);
      return json(201, block);
    }),
    accessRoute('POST', `${PATH}/delete`, async (request) => {
      const fields = Fields.ofBody(request, ['tenant', 'kind', 'value']);
      const kind = wordIn(fields, 'kind', kinds);
      const value = fields.text('value');
      await access.deleteBlock(tenantOf(fields), kind, value);
      return json(200, { kind, value });
    }),
  ];
}
