/* SPDX-License-Identifier: MIT
 *
 * Files for the fuzzers, and inputs that stand for several of them (fuzz.h).
 */
#include "fuzz.h"

#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[128];
static pid_t owner; /* a child must not remove it */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    return remove(path);
}

static int remove_below(const char *path, const struct stat *info, int type, struct FTW *at)
{
    return at->level ? remove(path) : 0;
}

static void remove_directory(void)
{
    if (getpid() == owner)
        nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void fuzz_require(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

void fuzz_tell(const char *text)
{
    static int wanted = -1;
    if (wanted < 0)
        wanted = getenv("FUZZ_TELL") != NULL;
    if (wanted)
        fprintf(stderr, "%s\n", text);
}

const char *fuzz_directory(void)
{
    if (!owner) {
        const char *above = getenv("FUZZ_DIRECTORY");
        snprintf(directory, sizeof directory, "%s/forksafe-fuzz-XXXXXX",
                 above ? above : "/dev/shm");
        fuzz_require(mkdtemp(directory) != NULL, "a directory in /dev/shm can be made");
        atexit(remove_directory);
        owner = getpid();
    }
    return directory;
}

const char *fuzz_file(const char *name, const void *bytes, size_t size)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    fuzz_require(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "the input can be written");
    close(fd);
    return path;
}

void fuzz_empty(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), name);
    nftw(path, remove_below, 8, FTW_DEPTH | FTW_PHYS);
}

/* The first line that begins with the mark, and what follows it. */
static const uint8_t *find_mark(const uint8_t *at, const uint8_t *end, const char *mark)
{
    size_t length = strlen(mark);
    while ((size_t)(end - at) >= length) {
        if (!memcmp(at, mark, length))
            return at;
        const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
        if (!line)
            break;
        at = line + 1;
    }
    return end;
}

/* Takes the rest of the line as the head; returns where the next line begins. */
static const uint8_t *take_head(struct fuzz_part *part, const uint8_t *at, const uint8_t *end)
{
    const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
    size_t length = (size_t)((line ? line : end) - at);
    snprintf(part->head, sizeof part->head, "%.*s", (int)(length < 127 ? length : 127),
             (const char *)at);
    return line ? line + 1 : end;
}

size_t fuzz_split(const uint8_t *data, size_t size, const char *mark, struct fuzz_part *parts)
{
    const uint8_t *at = data, *end = data + size;
    size_t count = 0;
    *parts[0].head = '\0';
    while (count < FUZZ_PARTS) {
        struct fuzz_part *part = &parts[count++];
        part->bytes = at;
        at = find_mark(at, end, mark);
        part->size = (size_t)(at - part->bytes);
        if (at == end || count == FUZZ_PARTS)
            break;
        at = take_head(&parts[count], at + strlen(mark), end);
    }
    return count;
}

const char *fuzz_word(const struct fuzz_part *part, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(part->head, word, length) || part->head[length] != ' ')
        return NULL;
    return part->head + length + 1;
}

const char *fuzz_name(const char *text, char *name, size_t size)
{
    size_t length = 0;
    for (; *text && *text != ' '; text++) {
        if (length + 1 == size)
            continue;
        char c = isalnum((unsigned char)*text) || strchr("-_./", *text) ? *text : '_';
        if (c == '/' && (!length || name[length - 1] == '/'))
            continue;
        if (c == '.' && length && name[length - 1] == '.')
            c = '_';
        name[length++] = c;
    }
    name[length] = '\0';
    return *text ? text + 1 : text;
}
