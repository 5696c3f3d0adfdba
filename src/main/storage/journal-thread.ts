/** One life of the journal worker, as the main thread sees it. Main thread; created by the storage supervisor. */
import { portsOf, type StorageLink } from '../../workers/storage/link.ts';
import type { MainToStorage, StorageToMain } from '../../workers/storage/messages.ts';
import { journalWorkerUrl } from '../../workers/worker-urls.ts';
import { WorkerLife } from '../supervision/worker-life.ts';

export class JournalThread extends WorkerLife<MainToStorage, StorageToMain> {
  constructor() {
    super(journalWorkerUrl, 'ringmq journal worker');
  }

  /** Gives the thread the host's end of a link. */
  connect(link: StorageLink): void {
    this.post({ type: 'connect', link }, portsOf(link));
  }
}
