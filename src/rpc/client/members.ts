/** Calls on the membership of the group. Any thread; part of `PlacementClient`. */
import type { GroupStatus, Member } from '../generated/ringmq/placement/v1/group.ts';
import { type MemberChangeResponse, MemberServiceService } from '../generated/ringmq/placement/v1/member.ts';
import { type CallOptions, present } from './call-options.ts';
import type { Caller } from './caller.ts';
import type { Method } from './connection.ts';

/** Who takes part in the group. Changes are made once: read the members after an error that leaves it open. */
export class Members {
  private readonly caller: Caller;
  private readonly timeoutMs: number;

  constructor(caller: Caller, timeoutMs: number) {
    this.caller = caller;
    this.timeoutMs = timeoutMs;
  }

  async list({ timeoutMs = this.timeoutMs }: CallOptions = {}): Promise<readonly Member[]> {
    return (await this.caller.call(MemberServiceService.list, {}, timeoutMs, true)).members;
  }

  addLearner(replica: string, name: string, address: string, options: CallOptions = {}): Promise<GroupStatus> {
    return this.change(MemberServiceService.addLearner, { replica, name, address }, options);
  }

  promote(replica: string, options: CallOptions = {}): Promise<GroupStatus> {
    return this.change(MemberServiceService.promote, { replica }, options);
  }

  remove(replica: string, options: CallOptions = {}): Promise<GroupStatus> {
    return this.change(MemberServiceService.remove, { replica }, options);
  }

  transferLeadership(replica: string, options: CallOptions = {}): Promise<GroupStatus> {
    return this.change(MemberServiceService.transferLeadership, { replica }, options);
  }

  private async change<Request>(
    method: Method<Request, MemberChangeResponse>,
    request: Request,
    { timeoutMs = this.timeoutMs }: CallOptions,
  ): Promise<GroupStatus> {
    return present((await this.caller.call(method, request, timeoutMs, false)).group);
  }
}
