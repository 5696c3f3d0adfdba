/** What CONNECT asks of the registry, and what comes of it. Types alone; connection workers. */
import type { Permissions } from '../../../core/ports/access.ts';
import type { Will } from '../packets/types.ts';
import type { Link, Session } from '../state/session.ts';

/** What comes of a CONNECT; one of them is called once, at once or later. */
export interface OpenAnswers {
  opened(session: Session, present: boolean): void;
  refused(reasonCode: number): void;
}

export interface OpenRequest {
  readonly clientId: string;
  readonly clean: boolean;
  readonly expiryS: number;
  readonly inflightMax: number;
  readonly will: Will | null;
  readonly permissions: Permissions | null;
  readonly link: Link;
}
