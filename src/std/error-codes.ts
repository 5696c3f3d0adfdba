/**
 * Error codes of the broker itself. What a part of the core answers to its callers is beside that part, as in
 * `core/streams/storage-error.ts`; `docs/errors.md` is generated from all of them. Any thread.
 */

/** Code → what it means and what to do about it. */
export const errorCodes = {
  CLUSTER_ADDRESS_UNUSABLE:
    'The cluster address cannot be listened on or used, for the reason in the message. Choose another one with `--cluster`.',
  CONFIG_INVALID:
    'The configuration has an unknown key or a wrong value. The message names every problem with its place.',
  DATA_FOLDER_LOCKED:
    'Another broker uses the data folder. Stop it, or give this one a folder of its own with `--data`.',
  DATA_FOLDER_UNUSABLE: 'The data folder cannot be created or written. Check path, permissions and free space.',
  HTTP_ADAPTER_UNAVAILABLE:
    'The HTTP library that `http.adapter` asks for does not load on this machine. Use `auto` or `node`, or a C library of version 2.38 or newer.',
  HTTP_LISTEN_FAILED: 'The HTTP address cannot be listened on. Choose another one with `--http`.',
  HTTP_RESPONSE_INVALID:
    'A resource answered with a status or header that HTTP does not allow: a defect, please report it.',
  HTTP_ROUTE_TWICE: 'Two resources have the same method and path: a defect, please report it.',
  LISTENER_ADDRESS_FORBIDDEN:
    'The operating system does not let this user listen on the address, for example a port below 1024.',
  LISTENER_ADDRESS_IN_USE:
    'Another program listens on the address. Stop it or choose another one; port 0 takes a free one.',
  LISTENER_FAILED: 'A listener cannot listen on its address, for the reason in the message.',
  LISTENER_UNKNOWN: 'The library was asked for a listener that the configuration does not have.',
  PLACEMENT_CORRUPTED:
    'The placement data in the data folder is damaged. In a cluster remove its folder `placement`: the node comes back as a new member. On a single node restore a backup.',
  PLACEMENT_FAILED:
    'The placement centre of this node has failed while it ran, for the reason in the message: a disk error, damaged data, or a defect. The node has left service.',
  PLACEMENT_START_FAILED: 'The placement centre did not come up, for the reason in the message.',
  TLS_MATERIAL_UNUSABLE:
    'A certificate, key, authority or revocation list of a TLS listener cannot be used. The message names the file and says why; at a reload what was in use stays.',
  WORKER_START_FAILED: 'A connection worker did not come up, for the reason in the message.',
} as const;

export type ErrorCode = keyof typeof errorCodes;
