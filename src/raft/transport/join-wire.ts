/** Answers to applicants, between the wire and the port. Thread: the Raft worker; used by both ends of a join. */
import type { JoinResponse } from '../../rpc/generated/ringmq/raft/v1/peer.ts';
import type { JoinAnswer } from './peer-ports.ts';

export function joinAnswerToWire(answer: JoinAnswer): JoinResponse {
  switch (answer.type) {
    case 'added':
      return { answer: { $case: 'added', value: { clusterId: answer.clusterId, members: answer.members } } };
    case 'not-leader':
      return { answer: { $case: 'notLeader', value: { leaderAddress: answer.leaderAddress } } };
    case 'unfounded':
      return { answer: { $case: 'unfounded', value: {} } };
    case 'refused':
      return { answer: { $case: 'refused', value: { reason: answer.reason } } };
  }
}

export function joinAnswerFromWire({ answer }: JoinResponse): JoinAnswer {
  switch (answer?.$case) {
    case 'added':
      return { type: 'added', clusterId: answer.value.clusterId, members: answer.value.members };
    case 'notLeader':
      return { type: 'not-leader', leaderAddress: answer.value.leaderAddress };
    case 'unfounded':
      return { type: 'unfounded' };
    case 'refused':
      return { type: 'refused', reason: answer.value.reason };
    case undefined:
      return { type: 'refused', reason: 'The node answered with something else' };
  }
}
