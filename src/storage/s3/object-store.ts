/**
 * The few requests that the engine and the tier need of object storage, each sent once: a request that is sent twice by itself could hide
 * whether the first one was stored. Thread: the one that holds the store; owned by the engine or
 * the tier's objects beside this file.
 */
import { readFile } from 'node:fs/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import type { ObjectStorageSettings } from '../../core/settings/object-storage-settings.ts';
import { StorageError } from '../../core/streams/storage-error.ts';
import { EngineLostError } from '../../core/streams/store-engine.ts';
import { toError } from '../../std/errors.ts';

export interface ListedObject {
  /** Without the prefix of the store. */
  readonly key: string;
  readonly size: number;
  /** By the clock of the service; milliseconds since 1970. */
  readonly modified: number;
}

export interface FoundObject {
  readonly bytes: Buffer;
  readonly etag: string;
}

export interface SentPart {
  readonly number: number;
  readonly etag: string;
  readonly crc: number;
}

type Library = typeof import('@aws-sdk/client-s3');

const socketsMax = 128;
const fullCodes = /NoSpace|StorageFull|QuotaExceeded|InsufficientStorage/i;

export class ObjectStore {
  readonly #settings: ObjectStorageSettings;
  readonly #library: Library;
  #client: S3Client;
  readonly #old = new Map<S3Client, NodeJS.Timeout>();

  private constructor(settings: ObjectStorageSettings, library: Library, secret: string) {
    this.#settings = settings;
    this.#library = library;
    this.#secret = secret;
    this.#client = this.#makeClient();
  }

  readonly #secret: string;

  static async open(settings: ObjectStorageSettings): Promise<ObjectStore> {
    // The package is optional: who keeps records elsewhere need not have it.
    const library = await import('@aws-sdk/client-s3');
    const { secretAccessKey, secretAccessKeyFile } = settings;
    const secret =
      secretAccessKeyFile === ''
        ? secretAccessKey
        : (await readFile(secretAccessKeyFile, 'utf8')).replace(/\r?\n$/, '');
    return new ObjectStore(settings, library, secret);
  }

  /** Idle connections are not used any more; requests that are under way may end. */
  reset(): void {
    const old = this.#client;
    this.#client = this.#makeClient();
    const timer = setTimeout(() => {
      this.#old.delete(old);
      old.destroy();
    }, this.#settings.requestLimitMs);
    this.#old.set(old, timer.unref());
  }

  close(): void {
    for (const [client, timer] of this.#old) {
      clearTimeout(timer);
      client.destroy();
    }
    this.#old.clear();
    this.#client.destroy();
  }

  /** Whether the bucket is there. */
  async hasBucket(): Promise<boolean> {
    const command = new this.#library.HeadBucketCommand({ Bucket: this.#settings.bucket });
    return (await orMissing(this.#send((client, options) => client.send(command, options)))) !== null;
  }

  async createBucket(): Promise<void> {
    const command = new this.#library.CreateBucketCommand({ Bucket: this.#settings.bucket });
    await this.#send((client, options) => client.send(command, options));
  }

  /**
   * Stores an object. With `absent` only when there is none of this key, with `etag` only when it is still that one. With `crc`, the
   * CRC-32C of the body, the service checks it.
   *
   * @throws StorageError (nothing was stored), EngineLostError (nobody knows)
   */
  async put(
    key: string,
    body: Uint8Array | string,
    condition: { readonly absent?: true; readonly etag?: string; readonly crc?: number } = {},
    limitMs = this.#settings.requestLimitMs,
  ): Promise<'stored' | 'refused'> {
    const command = new this.#library.PutObjectCommand({
      ...this.#at(key),
      Body: body,
      ...(condition.absent === true ? { IfNoneMatch: '*' } : {}),
      ...(condition.etag === undefined ? {} : { IfMatch: condition.etag }),
      ...(condition.crc === undefined ? {} : { ChecksumCRC32C: checksum(condition.crc) }),
    });
    try {
      await this.#send((client, options) => client.send(command, options), limitMs);
      return 'stored';
    } catch (error) {
      if (error instanceof Refused) return 'refused';
      // With an `etag` the object can be gone.
      if (error instanceof Missing && condition.etag !== undefined) return 'refused';
      throw error;
    }
  }

  /** All of an object, or `length` bytes from `from` on, fewer when it is shorter; null when there is none. */
  async get(key: string, from = 0, length = Number.POSITIVE_INFINITY): Promise<FoundObject | null> {
    const isWhole = from === 0 && length === Number.POSITIVE_INFINITY;
    const command = new this.#library.GetObjectCommand({
      ...this.#at(key),
      ...(isWhole ? {} : { Range: `bytes=${from}-${from + length - 1}` }),
    });
    return orMissing(
      this.#send(async (client, options) => {
        const { Body, ETag = '' } = await client.send(command, options);
        const body = (await Body?.transformToByteArray()) ?? new Uint8Array(0);
        return { bytes: Buffer.from(body.buffer, body.byteOffset, body.byteLength), etag: ETag };
      }),
    );
  }

  /** Begins an upload in parts; answers its id. */
  async beginParts(key: string): Promise<string> {
    const command = new this.#library.CreateMultipartUploadCommand({ ...this.#at(key), ChecksumAlgorithm: 'CRC32C' });
    const { UploadId } = await this.#send((client, options) => client.send(command, options));
    if (UploadId === undefined) throw new EngineLostError('The object storage gave no id for an upload');
    return UploadId;
  }

  /** Sends one part with the CRC-32C that the service checks; answers its tag. */
  async putPart(key: string, id: string, number: number, body: Buffer, crc: number, limitMs: number): Promise<string> {
    const command = new this.#library.UploadPartCommand({
      ...this.#at(key),
      UploadId: id,
      PartNumber: number,
      Body: body,
      ChecksumCRC32C: checksum(crc),
    });
    const { ETag } = await this.#send((client, options) => client.send(command, options), limitMs);
    if (ETag === undefined) throw new EngineLostError('The object storage gave no tag for a part');
    return ETag;
  }

  async completeParts(key: string, id: string, parts: readonly SentPart[], limitMs: number): Promise<void> {
    const command = new this.#library.CompleteMultipartUploadCommand({
      ...this.#at(key),
      UploadId: id,
      MultipartUpload: {
        Parts: parts.map(({ number, etag, crc }) => {
          return { PartNumber: number, ETag: etag, ChecksumCRC32C: checksum(crc) };
        }),
      },
    });
    await this.#send((client, options) => client.send(command, options), limitMs);
  }

  async abortParts(key: string, id: string): Promise<void> {
    const command = new this.#library.AbortMultipartUploadCommand({ ...this.#at(key), UploadId: id });
    await orMissing(this.#send((client, options) => client.send(command, options)));
  }

  /** Uploads that were begun and not completed, of keys that begin with `under`; the first thousand. */
  async unfinished(under: string): Promise<readonly { readonly key: string; readonly id: string }[]> {
    const { bucket, prefix } = this.#settings;
    const command = new this.#library.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix + under });
    const { Uploads = [] } = await this.#send((client, options) => client.send(command, options));
    // Not every service keeps to the prefix.
    return Uploads.flatMap(({ Key = '', UploadId }) => {
      return UploadId === undefined || !Key.startsWith(prefix + under)
        ? []
        : [{ key: Key.slice(prefix.length), id: UploadId }];
    });
  }

  async delete(key: string): Promise<void> {
    const command = new this.#library.DeleteObjectCommand(this.#at(key));
    await orMissing(this.#send((client, options) => client.send(command, options)));
  }

  /** All objects whose keys begin with `under`, after `after`, in the order of their keys; at most `limit` of them. */
  async list(under: string, after = '', limit = Number.POSITIVE_INFINITY): Promise<ListedObject[]> {
    const { bucket, prefix } = this.#settings;
    const found: ListedObject[] = [];
    let token: string | undefined;
    do {
      const command = new this.#library.ListObjectsV2Command({
        Bucket: bucket,
        Prefix: prefix + under,
        ...(after === '' ? {} : { StartAfter: prefix + after }),
        ...(limit < 1000 ? { MaxKeys: limit } : {}),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      const page = await this.#send((client, options) => client.send(command, options));
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        found.push({ key: Key.slice(prefix.length), size: Size, modified: LastModified?.getTime() ?? 0 });
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined && found.length < limit);
    return found;
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#settings.bucket, Key: this.#settings.prefix + key };
  }

  #makeClient(): S3Client {
    const { endpoint, region, pathStyle, accessKeyId, requestLimitMs } = this.#settings;
    const agent = { keepAlive: true, maxSockets: socketsMax };
    return new this.#library.S3Client({
      region,
      forcePathStyle: pathStyle,
      ...(endpoint === '' ? {} : { endpoint }),
      ...(accessKeyId === '' ? {} : { credentials: { accessKeyId, secretAccessKey: this.#secret } }),
      maxAttempts: 1,
      // Objects have checksums of their own: what is damaged in the storage must not look like a broken connection.
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { connectionTimeout: requestLimitMs, httpAgent: agent, httpsAgent: agent },
    });
  }

  async #send<T>(
    request: (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>,
    limitMs = this.#settings.requestLimitMs,
  ): Promise<T> {
    try {
      return await request(this.#client, { abortSignal: AbortSignal.timeout(limitMs) });
    } catch (error) {
      throw asEngineError(error);
    }
  }
}

/** The condition of a write did not hold. */
class Refused extends Error {}
/** There is no such object. */
class Missing extends Error {}

/** As the service wants it: big endian, in base64. */
function checksum(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

async function orMissing<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Missing) return null;
    throw error;
  }
}

/** The library's errors can carry requests with their signatures: nothing but code and text goes on. */
function asEngineError(thrown: unknown): Error {
  const error = toError(thrown);
  const status = statusOf(thrown);
  const code = (thrown as { readonly Code?: unknown }).Code;
  const text = `${typeof code === 'string' ? code : error.name}: ${error.message}`;
  if (status === 412) return new Refused(text);
  if (status === 404 && !text.includes('NoSuchBucket')) return new Missing(text);
  // The object ends before the range begins: what was asked for is not there.
  if (status === 416) return new Missing(text);
  if (status === 507 || fullCodes.test(text)) {
    return new StorageError('STORAGE_DISK_FULL', `The object storage refuses to write: ${text}`);
  }
  if (status === 401 || status === 403 || status === 404) {
    return new StorageError('STORAGE_UNAVAILABLE', `Cannot use the object storage: ${text}`);
  }
  // 409: another write of the same object is under way; 429: too many requests.
  if (status < 400 || status >= 500 || status === 408 || status === 409 || status === 429) {
    return new EngineLostError(`The object storage gave no answer: ${text}`);
  }
  return new StorageError('STORAGE_PARTITION_FAILED', `The object storage answered ${status}: ${text}`);
}

/** 0 when there was no answer. */
function statusOf(thrown: unknown): number {
  const metadata = (thrown as { readonly $metadata?: { readonly httpStatusCode?: unknown } } | null)?.$metadata;
  return typeof metadata?.httpStatusCode === 'number' ? metadata.httpStatusCode : 0;
}
