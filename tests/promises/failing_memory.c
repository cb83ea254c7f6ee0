/* SPDX-License-Identifier: MIT
 *
 * malloc, calloc, realloc, posix_memalign, aligned_alloc and mmap, of which the Nth call fails, or
 * all from the Nth on. Preloaded into memory_host, which arms it. Nothing here allocates, and what
 * is not armed goes through.
 */
#include "failing_memory.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static bool armed, for_good;
static unsigned long calls, failing;
static size_t freed; /* by the calls before this one, and not taken again */

void failing_memory_arm(unsigned long at, bool all)
{
    calls = 0;
    failing = at;
    for_good = all;
    armed = true;
}

unsigned long failing_memory_disarm(void)
{
    armed = false;
    return calls;
}

static bool fails(size_t size)
{
    size_t left = freed;
    freed = 0;
    if (!armed)
        return false;
    calls++;
    if (calls != failing && !(for_good && calls > failing))
        return false;
    if (size && size <= left) {
        freed = left - size;
        return false;
    }
    errno = ENOMEM;
    return true;
}

void free(void *memory)
{
    if (memory)
        freed = malloc_usable_size(memory);
    __libc_free(memory);
}

void *malloc(size_t size)
{
    return fails(size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(count * size) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(0) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(size) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = fails(size) ? NULL : __libc_memalign(alignment, size);
    if (!memory)
        return ENOMEM;
    *out = memory;
    return 0;
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fails(0))
        return MAP_FAILED;
    long result = syscall(SYS_mmap, at, length, protection, flags, fd, offset);
    return (void *)result;
}
