/* SPDX-License-Identifier: MIT
 *
 * Reading a whole ini into memory, and refusing what is not text before anybody looks at a line of
 * it.
 */
#include "ini_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guards.h"
#include "settings_text.h"

#define LARGEST_INI (256u * 1024 * 1024)

static int fail_to_open(const char *path, int number, struct fks_error *error)
{
    if (number == EACCES || number == EPERM)
        return fks_fail(error, FORKSAFE_EACCESS, "%s: cannot be read: %s", path, strerror(number));
    if (number == ENOENT || number == ENOTDIR)
        return fks_fail(error, FORKSAFE_EINI, "%s: there is no such file", path);
    return fks_fail(error, FORKSAFE_EINI, "%s: cannot be read: %s", path, strerror(number));
}

/* Opens without waiting: a FIFO with nobody at its other end must not stop a server. */
static int open_regular(const char *open_path, const char *path, struct stat *status,
                        struct fks_error *error)
{
    int fd = open(open_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fail_to_open(path, errno, error);
    if (fstat(fd, status) || !S_ISREG(status->st_mode)) {
        close(fd);
        return fks_fail(error, FORKSAFE_EINI, "%s: is not a regular file", path);
    }
    if (status->st_size > LARGEST_INI) {
        close(fd);
        return fks_fail(error, FORKSAFE_EINI, "%s: is larger than %u MB, which no ini is", path,
                        LARGEST_INI >> 20);
    }
    return fd;
}

/* Reads up to size bytes; what the file grew by since its size was asked is not read. */
static ssize_t read_bytes(int fd, char *bytes, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(fd, bytes + have, size - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (!got)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* Turns "\r\n" and "\r" into "\n", in place, and checks every character. */
static int check_text(struct fks_ini_text *text, const char *path, struct fks_error *error)
{
    char *to = text->start;
    int line = 1;
    for (const char *from = text->start; from < text->end;) {
        size_t bytes = fks_utf8_bytes(from, text->end);
        if (!bytes)
            return fks_fail(error, FORKSAFE_EINI,
                            "%s:%d: is not UTF-8 from byte 0x%02x on; save it as UTF-8", path, line,
                            (unsigned char)*from);
        if (!*from && fks_guard(FKS_GUARD_INI))
            return fks_fail(error, FORKSAFE_EINI, "%s:%d: has a NUL byte; an ini is text", path,
                            line);
        bool pair = *from == '\r' && from + 1 < text->end && from[1] == '\n';
        if (*from == '\r')
            *to = '\n';
        else
            memmove(to, from, bytes);
        line += *to == '\n';
        to += bytes;
        from += pair ? 2 : bytes;
    }
    *to = '\0';
    text->end = to;
    return 0;
}

int fks_ini_text_read(struct fks_ini_text *out, struct fks_store *store, const char *open_path,
                      const char *path, struct fks_error *error)
{
    struct stat status;
    int fd = open_regular(open_path, path, &status, error);
    if (fd < 0)
        return fd;
    size_t size = (size_t)status.st_size;
    char *bytes = fks_store_take(store, size + 1);
    ssize_t have = bytes ? read_bytes(fd, bytes, size) : 0;
    int number = errno;
    close(fd);
    if (!bytes)
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory while reading it", path);
    if (have < 0)
        return fail_to_open(path, number, error);
    *out = (struct fks_ini_text){bytes, bytes + have};
    return check_text(out, path, error);
}
