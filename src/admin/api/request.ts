/** What the resources that take a body share. Lives on the main thread. */
import type { HttpRequest, HttpResponse } from '../../net/http/port.ts';
import { json } from './response.ts';

/** A request that cannot be understood. */
export class RequestInvalidError extends Error {
  override readonly name = 'RequestInvalidError';
}

/**
 * The fields of the JSON object that the body is. Throws `RequestInvalidError`. Only with the media type of JSON: a page of
 * another site cannot send that without asking first.
 */
export function readEntries(request: HttpRequest): ReadonlyMap<string, unknown> {
  const mediaType = (request.headers.get('content-type') ?? '').split(';')[0].trim().toLowerCase();
  if (mediaType !== 'application/json') throw new RequestInvalidError('the content type must be application/json');
  return new Map(Object.entries(parse(request.body.toString('utf8'))));
}

/** The texts of a JSON object, exactly the fields that are asked for. Throws `RequestInvalidError`. */
export function readTexts<F extends string>(request: HttpRequest, fields: readonly F[]): Readonly<Record<F, string>> {
  const entries = readEntries(request);
  for (const name of entries.keys()) {
    if (!fields.some((field) => field === name)) throw new RequestInvalidError(`unknown field ${JSON.stringify(name)}`);
  }
  const texts = fields.map((field) => {
    const value = entries.get(field);
    if (typeof value !== 'string') throw new RequestInvalidError(`the field "${field}" must be a text`);
    return [field, value] as const;
  });
  return Object.fromEntries(texts) as Record<F, string>;
}

function parse(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RequestInvalidError('the body is no JSON');
  }
  if (typeof value !== 'object' || value === null) throw new RequestInvalidError('the body must be an object');
  return value;
}

/** What `work` answers; 400 with the reason when the request cannot be understood. */
export async function orInvalid(work: () => Promise<HttpResponse>): Promise<HttpResponse> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RequestInvalidError)) throw error;
    return json(400, { code: 'INVALID_ARGUMENT', message: error.message });
  }
}
