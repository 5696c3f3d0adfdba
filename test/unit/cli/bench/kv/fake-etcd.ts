/** As much of etcd's key-value service as the load uses, in memory, for the tests of the load. */
import * as grpc from '@grpc/grpc-js';

export interface FakeEtcd {
  readonly endpoint: string;
  /** Calls so far, by method; reads by whether they asked for the serializable kind. */
  readonly counts: { put: number; range: number; serializable: number };
  readonly keys: ReadonlyMap<string, Buffer>;
  /** Calls fail from now on with status UNAVAILABLE. */
  fail(): void;
  stop(): void;
}

/** Fields of a message whose fields are bytes or small numbers. */
function readFields(message: Buffer): Map<number, Buffer | number> {
  const fields = new Map<number, Buffer | number>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    if ((tag & 7) === 0) fields.set(tag >>> 3, varint());
    else {
      const length = varint();
      fields.set(tag >>> 3, message.subarray(at, at + length));
      at += length;
    }
  }
  return fields;
}

/** Length-delimited field `number`, of less than 16384 bytes. */
function field(number: number, content: Buffer): Buffer {
  const { length } = content;
  const head = length < 128 ? [length] : [(length & 127) | 128, length >>> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...head]), content]);
}

/** Cluster 1234567890123, member 77, revision 5, as varints: what stands before the pairs in every answer. */
const header = field(1, Buffer.from([0x08, 0xcb, 0x89, 0x9e, 0x96, 0xf7, 0x23, 0x10, 0x4d, 0x18, 0x05]));

export async function startFakeEtcd(): Promise<FakeEtcd> {
  const keys = new Map<string, Buffer>();
  const counts = { put: 0, range: 0, serializable: 0 };
  let isFailing = false;
  const method = (name: string) => ({
    path: `/etcdserverpb.KV/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  });
  const answer = (respond: (fields: Map<number, Buffer | number>) => Buffer): grpc.handleUnaryCall<Buffer, Buffer> => {
    return (call, done) => {
      if (isFailing) done({ code: grpc.status.UNAVAILABLE, details: 'etcdserver: no leader' });
      else done(null, respond(readFields(call.request)));
    };
  };
  const server = new grpc.Server();
  server.addService(
    { Put: method('Put'), Range: method('Range') },
    {
      Put: answer((fields) => {
        counts.put++;
        keys.set(String(fields.get(1)), Buffer.from(fields.get(2) as Buffer));
        return header;
      }),
      Range: answer((fields) => {
        counts.range++;
        if (fields.get(7) === 1) counts.serializable++;
        const value = keys.get(String(fields.get(1)));
        if (value === undefined) return header;
        const pair = Buffer.concat([field(1, fields.get(1) as Buffer), field(5, value)]);
        return Buffer.concat([header, field(2, pair), Buffer.from([0x20, 0x01])]);
      }),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return {
    endpoint: `127.0.0.1:${port}`,
    counts,
    keys,
    fail: () => {
      isFailing = true;
    },
    stop: () => server.forceShutdown(),
  };
}
