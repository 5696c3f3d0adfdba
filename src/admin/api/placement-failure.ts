/** Errors of the placement centre as answers. Lives on the main thread; used by the resources about the cluster. */

import { PlacementError, type PlacementErrorCode } from '../../core/ports/placement.ts';
import type { HttpResponse } from '../../net/http/port.ts';
import { json } from './response.ts';

const statuses: Readonly<Record<PlacementErrorCode, number>> = {
  NO_LEADER: 503,
  TIMED_OUT: 504,
  OVERLOADED: 503,
  DISK_FULL: 507,
  NOT_LEADER: 503,
  MEMBERSHIP_REFUSED: 409,
  STOPPED: 503,
  CORRUPTED: 503,
};

/** What `work` answers; its `PlacementError` as an answer with the stable code. */
export async function orFailure(work: () => Promise<HttpResponse>): Promise<HttpResponse> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PlacementError)) throw error;
    const { code, message, leaderAddress } = error;
    return json(statuses[code], { code, message, leaderAddress });
  }
}
