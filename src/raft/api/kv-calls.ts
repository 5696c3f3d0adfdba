/**
 * The calls on keys, one function each: request in, answer out, failures thrown. Thread: the Raft worker; called by
 * `kv-service.ts` for single calls and by `pipeline.ts` for streams of them.
 */
import type {
  Compare,
  PlacementNode,
  RequestId,
  SetOperation,
  TransactionCommand,
} from '../../core/ports/placement.ts';
import type { Consistency } from '../../rpc/generated/ringmq/placement/v1/common.ts';
import type {
  CompactRequest,
  CompactResponse,
  CompareAndSetRequest,
  CompareAndSetResponse,
  DeleteRequest,
  DeleteResponse,
  ExistsRequest,
  ExistsResponse,
  GetRequest,
  GetResponse,
  RangeRequest,
  RangeResponse,
  SetRequest,
  SetResponse,
  TransactionRequest,
  TransactionResponse,
} from '../../rpc/generated/ringmq/placement/v1/kv.ts';
import { fromOperationResult, fromRange, toCompare, toDelete, toOperation, toRange } from './convert.ts';
import { expectResult, invalidField } from './failure.ts';
import { readConsistency, readRequestId, requireKey, requirePositive } from './fields.ts';

const none: readonly never[] = [];

async function runTransaction(
  node: PlacementNode,
  command: TransactionCommand,
  requestId: RequestId,
  timeoutMs: number,
) {
  return expectResult(await node.execute(command, { requestId, timeoutMs }), 'transaction');
}

export async function set(node: PlacementNode, request: SetRequest, timeoutMs: number): Promise<SetResponse> {
  const { key, value, lease, returnPrevious } = request;
  const operation: SetOperation = { type: 'set', key: requireKey(key), value, lease, returnPrevious };
  const command: TransactionCommand = { type: 'transaction', compares: none, success: [operation], failure: none };
  const result = await runTransaction(node, command, readRequestId(request.requestId), timeoutMs);
  const [first] = result.results;
  const previous = first?.type === 'set' ? (first.previous ?? undefined) : undefined;
  return { revision: result.revision, previous, wasRepeated: result.wasRepeated };
}

async function readRange(node: PlacementNode, request: RangeRequest, timeoutMs: number) {
  const query = { ...toRange(request), consistency: readConsistency(request.consistency) };
  return expectResult(await node.query(query, { timeoutMs }), 'range');
}

function exactly(key: Uint8Array, consistency: Consistency, keysOnly: boolean): RangeRequest {
  requireKey(key);
  return { key, end: undefined, limit: 1, isReverse: false, keysOnly, countOnly: false, consistency };
}

export async function get(node: PlacementNode, request: GetRequest, timeoutMs: number): Promise<GetResponse> {
  const { revision, items } = await readRange(node, exactly(request.key, request.consistency, false), timeoutMs);
  return { revision, item: items[0] };
}

export async function exists(node: PlacementNode, request: ExistsRequest, timeoutMs: number): Promise<ExistsResponse> {
  const { revision, items } = await readRange(node, exactly(request.key, request.consistency, true), timeoutMs);
  return { revision, exists: items.length > 0 };
}

export async function range(node: PlacementNode, request: RangeRequest, timeoutMs: number): Promise<RangeResponse> {
  requireKey(request.key);
  const result = await readRange(node, request, timeoutMs);
  return fromRange(result, result.revision);
}

async function remove(node: PlacementNode, request: DeleteRequest, timeoutMs: number): Promise<DeleteResponse> {
  const operation = toDelete(requireKey(request.key), request.end, request.returnPrevious);
  const command: TransactionCommand = { type: 'transaction', compares: none, success: [operation], failure: none };
  const result = await runTransaction(node, command, readRequestId(request.requestId), timeoutMs);
  const [first] = result.results;
  const { count, previous } = first?.type === 'delete' ? first : { count: 0, previous: none };
  return { revision: result.revision, count, previous, wasRepeated: result.wasRepeated };
}

export async function transaction(
  node: PlacementNode,
  request: TransactionRequest,
  timeoutMs: number,
): Promise<TransactionResponse> {
  const command: TransactionCommand = {
    type: 'transaction',
    compares: request.compares.map((each, i) => toCompare(each, `compares[${i}]`)),
    success: request.success.map((each, i) => toOperation(each, `success[${i}]`)),
    failure: request.failure.map((each, i) => toOperation(each, `failure[${i}]`)),
  };
  const result = await runTransaction(node, command, readRequestId(request.requestId), timeoutMs);
  const { revision, succeeded, wasRepeated } = result;
  return { revision, succeeded, wasRepeated, results: result.results.map(fromOperationResult) };
}

/** What must hold before a compare-and-set. */
function toExpectation({ key, expected }: CompareAndSetRequest): Compare[] {
  switch (expected?.$case) {
    case 'value': {
      const same: Compare = { key, target: 'value', relation: 'equal', operand: expected.value };
      // A missing key compares as an empty value, and is not what was expected.
      const isThere: Compare = { key, target: 'version', relation: 'greater', operand: 0 };
      return expected.value.length === 0 ? [same, isThere] : [same];
    }
    case 'modRevision':
      return [{ key, target: 'mod-revision', relation: 'equal', operand: expected.value }];
    default:
      throw invalidField('expected', 'it is missing');
  }
}

export async function compareAndSet(
  node: PlacementNode,
  request: CompareAndSetRequest,
  timeoutMs: number,
): Promise<CompareAndSetResponse> {
  const { newValue: value, lease } = request;
  const key = requireKey(request.key);
  const command: TransactionCommand = {
    type: 'transaction',
    compares: toExpectation(request),
    success: [{ type: 'set', key, value, lease, returnPrevious: false }],
    failure: [{ type: 'range', key, end: null, limit: 1, isReverse: false, keysOnly: false, countOnly: false }],
  };
  const result = await runTransaction(node, command, readRequestId(request.requestId), timeoutMs);
  const { revision, succeeded, wasRepeated } = result;
  const [first] = result.results;
  const current = !succeeded && first?.type === 'range' ? first.items[0] : undefined;
  return { revision, succeeded, current, wasRepeated };
}

export async function compact(
  node: PlacementNode,
  request: CompactRequest,
  timeoutMs: number,
): Promise<CompactResponse> {
  const revision = requirePositive(request.revision, 'revision');
  const result = await node.execute({ type: 'compact', revision }, { requestId: null, timeoutMs });
  return { revision: expectResult(result, 'compact').revision };
}

export { remove as delete };
