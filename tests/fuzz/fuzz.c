/* SPDX-License-Identifier: MIT
 *
 * Files for the fuzzers (fuzz.h).
 */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/dev/shm/forksafe-fuzz-XXXXXX";

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void fuzz_require(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

const char *fuzz_directory(void)
{
    static int made;
    if (!made) {
        fuzz_require(mkdtemp(directory) != NULL, "a directory in /dev/shm can be made");
        atexit(remove_directory);
        made = 1;
    }
    return directory;
}

const char *fuzz_file(const char *name, const void *bytes, size_t size)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_require(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "the input can be written");
    close(fd);
    return path;
}
