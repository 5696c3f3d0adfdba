/**
 * A disk that says "done" and did nothing, for the proof that the checks would see it: a small library that is loaded before
 * all others into a node and makes its syncs void from the moment on when a file is there. Used by the scenario `power`;
 * thread of the test. Takes a C compiler.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const source = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_void(void) {
  return access(SWITCH, F_OK) == 0;
}

int fdatasync(int file) { return is_void() ? 0 : syscall(SYS_fdatasync, file); }
int fsync(int file) { return is_void() ? 0 : syscall(SYS_fsync, file); }
int msync(void *start, size_t length, int flags) { return is_void() ? 0 : syscall(SYS_msync, start, length, flags); }

/* A file that is opened for synchronous writes syncs without being asked: such flags are left out, always. */
#define OPEN(name)                                                          \\
  int name(const char *path, int flags, ...) {                              \\
    va_list rest;                                                           \\
    va_start(rest, flags);                                                  \\
    int mode = va_arg(rest, int);                                           \\
    va_end(rest);                                                           \\
    return syscall(SYS_openat, AT_FDCWD, path, flags & ~(O_DSYNC | O_SYNC), mode); \\
  }
OPEN(open)
OPEN(open64)
`;

export class LyingDisk {
  /** For the node's process. */
  readonly environment: Readonly<Record<string, string>>;
  private readonly switchPath: string;

  private constructor(library: string, switchPath: string) {
    this.switchPath = switchPath;
    this.environment = { LD_PRELOAD: library };
  }

  /** Compiles the library into `folder`. Throws when there is no compiler. */
  static make(folder: string): LyingDisk {
    const library = join(folder, 'void-sync.so');
    const file = join(folder, 'void-sync.c');
    writeFileSync(file, source);
    const switchPath = join(folder, 'void-sync.on');
    const flags = ['-shared', '-fPIC', '-O1', `-DSWITCH="${switchPath}"`];
    execFileSync('cc', [...flags, '-o', library, file], { stdio: ['ignore', 'ignore', 'pipe'] });
    return new LyingDisk(library, switchPath);
  }

  /** From now on nothing is synced. */
  beginToLie(): void {
    writeFileSync(this.switchPath, '');
  }

  /** Syncs are syncs again; what was written before is not made up for. */
  stopLying(): void {
    rmSync(this.switchPath, { force: true });
  }
}
