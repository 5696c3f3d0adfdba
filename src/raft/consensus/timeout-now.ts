/** The last step of handing leadership over (Ongaro's thesis, section 3.10). Raft worker; used by the leader's parts. */
import type { Core, Leadership } from './core.ts';

/** Has the chosen successor campaign as soon as it holds the whole log. */
export function sendTimeoutNowIfCaughtUp(core: Core, leadership: Leadership): void {
  const target = leadership.transferTarget;
  if (target === 0) return;
  if (leadership.progress.get(target)?.match !== core.log.lastIndex) return;
  core.send({ type: 'timeout-now', from: core.replica, to: target, term: core.term });
}
