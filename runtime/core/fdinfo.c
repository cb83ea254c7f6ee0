/* SPDX-License-Identifier: MIT
 *
 * A process's own /proc (fdinfo.h). In the master before a fork, and in its children.
 */
#include "fdinfo.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE    512
#define THREADS 1024

struct lines {
    bool (*each)(const char *line, void *data);
    void *data;
    char line[LINE];
    size_t length;
};

/* Hands over what is complete. Returns false when no more is wanted. */
static bool take(struct lines *lines, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '\n') {
            if (lines->length < LINE - 1)
                lines->line[lines->length++] = text[i];
            continue;
        }
        lines->line[lines->length] = '\0';
        lines->length = 0;
        if (!lines->each(lines->line, lines->data))
            return false;
    }
    return true;
}

bool fks_proc_lines(const char *name, bool (*each)(const char *line, void *data), void *data)
{
    char path[64], text[4096];
    struct lines lines = {.each = each, .data = data};
    snprintf(path, sizeof path, "/proc/self/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0 && take(&lines, text, (size_t)got))
        ;
    close(fd);
    return true;
}

bool fks_fdinfo_lines(int number, bool (*each)(const char *line, void *data), void *data)
{
    char name[32];
    snprintf(name, sizeof name, "fdinfo/%d", number);
    return fks_proc_lines(name, each, data);
}

int fks_fd_directory(void)
{
    return open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void fks_fd_link(int directory, int number, char *out, size_t size)
{
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    ssize_t length = readlinkat(directory, name, out, size - 1);
    out[length > 0 ? length : 0] = '\0';
}

static bool read_size(const char *line, void *data)
{
    return sscanf(line, "FDSize: %d", (int *)data) != 1;
}

int fks_fd_table_size(void)
{
    int size = 1024;
    (void)fks_proc_lines("status", read_size, &size);
    return size;
}

/* --- threads --- */

struct directory_entry { /* of getdents64(2) */
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static bool read_name(int tasks, const char *id, char out[32])
{
    char path[64];
    snprintf(path, sizeof path, "%.20s/comm", id);
    int fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, out, 31);
    close(fd);
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return got > 0;
}

int fks_threads_each(void (*each)(const char *name, pid_t id, void *data), void *data)
{
    _Alignas(struct directory_entry) char text[4096];
    char name[32];
    int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
    if (tasks < 0)
        return -1;
    const pid_t self = (pid_t)syscall(SYS_gettid);
    long got;
    while (count < THREADS && (got = syscall(SYS_getdents64, tasks, text, sizeof text)) > 0)
        for (long at = 0; at < got && count < THREADS;) {
            const struct directory_entry *entry = (const void *)(text + at);
            at += entry->size;
            pid_t id = (pid_t)atoi(entry->name);
            if (id <= 0 || id == self || !read_name(tasks, entry->name, name))
                continue;
            each(name, id, data);
            count++;
        }
    close(tasks);
    return count;
}

bool fks_fd_is_shared_with(pid_t process, int number)
{
    return syscall(SYS_kcmp, (long)process, (long)getpid(), (long)KCMP_FILE, (long)number,
                   (long)number) <= 0;
}
