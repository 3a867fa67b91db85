/* Lets one call that writes to the disk fail, as a full or broken disk does. Preloaded; armed through ctypes.
 *
 * A write that shall fail writes half of its data first, and fails when it is called for the rest: that is what a full
 * disk does. In `for_good` mode whatever follows fails too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>
#include <unistd.h>

static int countdown = -1, error = 0, for_good = 0, half_written = 0, calls = 0;

void arm(int after, int number, int forever) {
    countdown = after, error = number, for_good = forever, half_written = calls = 0;
}

int disarm(void) {
    countdown = -1;
    return calls;
}

static int fails(void) {
    if (countdown < 0) return 0;
    calls++;
    if (countdown > 0) return countdown--, 0;
    if (!for_good) countdown = -1;
    return 1;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define OR_FAIL(name, ...) return fails() ? (errno = error, -1) : REAL(name)(__VA_ARGS__)

ssize_t write(int file, const void *data, size_t size) {
    if (countdown == 0 && !half_written && size > 1) {
        half_written = 1;
        return REAL(write)(file, data, size / 2);
    }
    OR_FAIL(write, file, data, size);
}

int fdatasync(int file) { OR_FAIL(fdatasync, file); }
int mkdirat(int folder, const char *name, mode_t mode) { OR_FAIL(mkdirat, folder, name, mode); }
int mkdir(const char *name, mode_t mode) { OR_FAIL(mkdir, name, mode); }
int renameat(int a, const char *old, int b, const char *new) { OR_FAIL(renameat, a, old, b, new); }
int unlinkat(int folder, const char *name, int flags) { OR_FAIL(unlinkat, folder, name, flags); }
int ftruncate64(int file, off64_t size) { OR_FAIL(ftruncate64, file, size); }

int openat64(int folder, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (flags & O_CREAT && fails()) return errno = error, -1;
    return REAL(openat64)(folder, name, flags, mode);
}
