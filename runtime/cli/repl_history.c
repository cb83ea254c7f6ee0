/* SPDX-License-Identifier: MIT
 *
 * The REPL's history file: one typed line a line, appended as it is typed, so that nothing is lost
 * and two sessions at a time keep both their lines. Cut back when it is opened. Only its owner can
 * read it. In the command's process.
 */
#include "repl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes the file's path; -1 where the person has no home or it is too long. */
static int find_path(char *path, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length;
    if (state && state[0] == '/')
        length = snprintf(path, size, "%s/forksafe/repl_history", state);
    else if (home && home[0] == '/')
        length = snprintf(path, size, "%s/.local/state/forksafe/repl_history", home);
    else
        return -1;
    return length > 0 && (size_t)length < size ? 0 : -1;
}

/* Makes the directories above the file. */
static int make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0700) && errno != EEXIST;
        *slash = '/';
        if (failed)
            return -1;
    }
    return 0;
}

/* Opens the file, which must be a plain one; -1 with errno. */
static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat is;
    if (fd < 0)
        return -1;
    if (!fstat(fd, &is) && S_ISREG(is.st_mode) && !fchmod(fd, 0600))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

/* The last lines of a file: a ring of them. */
struct tail {
    char *lines[FKS_REPL_HISTORY_LINES];
    size_t count; /* of all lines read */
};

static void read_tail(struct tail *tail, FILE *file)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *copy = line[0] ? strdup(line) : NULL;
        if (!copy)
            continue;
        char **place = &tail->lines[tail->count++ % FKS_REPL_HISTORY_LINES];
        free(*place);
        *place = copy;
    }
    free(line);
}

/* Calls `each` with the lines, oldest first. */
static void visit(const struct tail *tail, void (*each)(const char *line, void *data), void *data)
{
    size_t first = tail->count > FKS_REPL_HISTORY_LINES ? tail->count - FKS_REPL_HISTORY_LINES : 0;
    for (size_t i = first; i < tail->count; i++)
        each(tail->lines[i % FKS_REPL_HISTORY_LINES], data);
}

static void write_line(const char *line, void *data)
{
    fprintf(data, "%s\n", line);
}

/* Puts a file with only the last lines in the place of one that has grown to twice as many; where
 * that fails it stays as it is. */
static void shorten(const char *path, const struct tail *tail)
{
    if (tail->count <= 2 * FKS_REPL_HISTORY_LINES)
        return;
    char fresh[1040];
    snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    int fd = open_file(fresh, O_WRONLY | O_TRUNC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        if (fd >= 0)
            close(fd);
        return;
    }
    visit(tail, write_line, file);
    bool written = !ferror(file);
    written = !fclose(file) && written;
    if (!written || rename(fresh, path))
        unlink(fresh);
}

int fks_repl_history_open(struct fks_repl_history *history,
                          void (*each)(const char *line, void *data), void *data,
                          struct fks_error *error)
{
    history->path[0] = '\0';
    char path[sizeof history->path];
    if (find_path(path, sizeof path))
        return fks_fail(error, FORKSAFE_ENOENT,
                        "no history is kept: set HOME or XDG_STATE_HOME to an absolute path");
    int fd = make_directories(path) ? -1 : open_file(path, O_RDWR);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file) {
        int code = errno == EACCES || errno == EROFS ? FORKSAFE_EACCESS : FORKSAFE_ENOENT;
        fks_fail(error, code, "no history is kept: cannot use %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return code;
    }
    struct tail tail = {.count = 0};
    read_tail(&tail, file);
    fclose(file);
    visit(&tail, each, data);
    shorten(path, &tail);
    for (size_t i = 0; i < FKS_REPL_HISTORY_LINES; i++)
        free(tail.lines[i]);
    memcpy(history->path, path, sizeof path);
    return 0;
}

void fks_repl_history_add(const struct fks_repl_history *history, const char *line)
{
    if (!history->path[0])
        return;
    int fd = open_file(history->path, O_WRONLY | O_APPEND);
    if (fd < 0)
        return;
    dprintf(fd, "%s\n", line);
    close(fd);
}
