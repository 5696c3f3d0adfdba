/** `MemberService`: who takes part in the group. Thread: the Raft worker; offered by `server.ts`. */
import type { GroupStatus } from '../../core/ports/placement.ts';
import { type MemberServiceServer, MemberServiceService } from '../../rpc/generated/ringmq/placement/v1/member.ts';
import type { ApiContext, ServiceOffer } from './context.ts';
import { fromMember, fromStatus } from './convert.ts';
import { requireAddress, requireReplica } from './fields.ts';
import { unary, withDeadline } from './unary.ts';

export function offerMembers(context: ApiContext): ServiceOffer {
  const { node } = context;
  const changed = async (work: Promise<GroupStatus>, timeoutMs: number) => ({
    group: fromStatus(await withDeadline(work, timeoutMs)),
  });
  const handlers: MemberServiceServer = {
    addLearner: unary(context, async ({ replica, name, address }, timeoutMs) => {
      const member = { replica: requireReplica(replica), name, address: requireAddress(address, 'address') };
      return changed(node.addLearner(member), timeoutMs);
    }),
    promote: unary(context, async ({ replica }, timeoutMs) =>
      changed(node.promote(requireReplica(replica)), timeoutMs),
    ),
    remove: unary(context, async ({ replica }, timeoutMs) => changed(node.remove(requireReplica(replica)), timeoutMs)),
    transferLeadership: unary(context, async ({ replica }, timeoutMs) =>
      changed(node.transferLeadership(requireReplica(replica)), timeoutMs),
    ),
    list: unary(context, async () => ({ members: node.status().members.map(fromMember) })),
  };
  return { definition: MemberServiceService, handlers };
}
