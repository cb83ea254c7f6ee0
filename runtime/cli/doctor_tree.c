/* SPDX-License-Identifier: MIT
 *
 * Which processes are one server (doctor.h): the master above the pid that was given, and
 * everything below it. Reads /proc/PID/stat of every process once. In the command only.
 */
#include "doctor.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fields of /proc/PID/stat after the name, counted from the state. */
enum { STAT_STATE = 0, STAT_PPID = 1, STAT_THREADS = 17, STAT_START = 19, STAT_STACK = 25 };

struct list {
    struct fks_doctor_process *items;
    size_t count, room;
};

__attribute__((format(printf, 3, 0))) static int open_below(const struct fks_doctor *doctor,
                                                            int flags, const char *name,
                                                            va_list arguments)
{
    char path[64];
    vsnprintf(path, sizeof path, name, arguments);
    return openat(dirfd(doctor->proc), path, flags | O_CLOEXEC);
}

ssize_t fks_doctor_read(const struct fks_doctor *doctor, char *buffer, size_t size,
                        const char *name, ...)
{
    va_list arguments;
    va_start(arguments, name);
    int fd = open_below(doctor, O_RDONLY, name, arguments);
    va_end(arguments);
    if (fd < 0)
        return -1;
    size_t length = 0;
    ssize_t got = 0;
    while (length < size - 1 && (got = read(fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)got;
    int error = errno;
    close(fd);
    errno = error;
    buffer[length] = '\0';
    return got < 0 && !length ? -1 : (ssize_t)length;
}

ssize_t fks_doctor_link(const struct fks_doctor *doctor, char *buffer, size_t size,
                        const char *name, ...)
{
    char path[64];
    va_list arguments;
    va_start(arguments, name);
    vsnprintf(path, sizeof path, name, arguments);
    va_end(arguments);
    ssize_t length = readlinkat(dirfd(doctor->proc), path, buffer, size - 1);
    buffer[length < 0 ? 0 : length] = '\0';
    return length;
}

/* Returns whether it is a process that runs. */
static bool read_process(const struct fks_doctor *doctor, const char *pid,
                         struct fks_doctor_process *out)
{
    char text[2048];
    if (fks_doctor_read(doctor, text, sizeof text, "%.20s/stat", pid) <= 0)
        return false;
    char *name = strchr(text, '('), *end = strrchr(text, ')'); /* a name may have both in it */
    if (!name || !end || end < name || end[1] != ' ')
        return false;
    *end = '\0';
    *out = (struct fks_doctor_process){.pid = atoi(pid), .comparable = -1};
    snprintf(out->comm, sizeof out->comm, "%s", name + 1);
    char *field = end + 2;
    for (int i = 0; field && *field; i++) {
        if (i == STAT_STATE && (*field == 'Z' || *field == 'X'))
            return false;
        if (i == STAT_PPID)
            out->ppid = atoi(field);
        if (i == STAT_THREADS)
            out->threads = (unsigned)atoi(field);
        if (i == STAT_START)
            out->started = strtoull(field, NULL, 10);
        if (i == STAT_STACK)
            out->stack = strtoull(field, NULL, 10);
        field = strchr(field, ' ');
        field = field ? field + 1 : NULL;
    }
    return true;
}

static int by_parent(const void *left, const void *right)
{
    const struct fks_doctor_process *a = left, *b = right;
    if (a->ppid != b->ppid)
        return a->ppid < b->ppid ? -1 : 1;
    return (a->pid > b->pid) - (a->pid < b->pid);
}

static int list_all(struct fks_doctor *doctor, struct list *list)
{
    for (struct dirent *entry; (entry = readdir(doctor->proc));) {
        if (!isdigit((unsigned char)*entry->d_name))
            continue;
        if (list->count == list->room) {
            size_t room = list->room ? 2 * list->room : 512;
            void *grown = reallocarray(list->items, room, sizeof *list->items);
            if (!grown)
                return -1;
            list->items = grown;
            list->room = room;
        }
        if (read_process(doctor, entry->d_name, &list->items[list->count]))
            list->count++;
    }
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_parent);
    return 0;
}

static const struct fks_doctor_process *find(const struct list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == pid)
            return &list->items[i];
    return NULL;
}

bool fks_doctor_is_fork(const struct fks_doctor_process *child,
                        const struct fks_doctor_process *parent)
{
    if (child->stack > 1 && parent->stack > 1)
        return child->stack == parent->stack;
    return !strcmp(child->comm, parent->comm);
}

static const struct fks_doctor_process *find_master(const struct list *list,
                                                    const struct fks_doctor_process *process)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct fks_doctor_process *parent = find(list, process->ppid);
        if (!parent || parent->pid == 1 || !fks_doctor_is_fork(process, parent))
            return process;
        process = parent;
    }
    return process;
}

static size_t first_child(const struct list *list, pid_t parent)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->items[middle].ppid < parent)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The master and what is below it, parents before children. */
static void take_below(struct fks_doctor *doctor, const struct list *list,
                       const struct fks_doctor_process *master)
{
    struct fks_doctor_process *taken = doctor->processes;
    taken[doctor->process_count++] = *master;
    for (size_t i = 0; i < doctor->process_count; i++) {
        for (size_t j = first_child(list, taken[i].pid); j < list->count; j++) {
            const struct fks_doctor_process *child = &list->items[j];
            if (child->ppid != taken[i].pid || doctor->process_count == list->count)
                break;
            if (child->pid == getpid()) /* whoever runs us below the server */
                continue;
            taken[doctor->process_count] = *child;
            taken[doctor->process_count].parent = i;
            taken[doctor->process_count++].role =
                taken[i].role != FKS_DOCTOR_PROGRAM && fks_doctor_is_fork(child, &taken[i])
                    ? FKS_DOCTOR_WORKER
                    : FKS_DOCTOR_PROGRAM;
        }
    }
}

int fks_doctor_tree(struct fks_doctor *doctor, pid_t pid, struct fks_error *error)
{
    struct list list = {0};
    int rc = 0;
    if (list_all(doctor, &list) ||
        !(doctor->processes = calloc(list.count + 1, sizeof *doctor->processes))) {
        rc = fks_fail(error, FORKSAFE_ENOMEM, "no memory for the processes");
        goto out;
    }
    const struct fks_doctor_process *process = find(&list, pid);
    if (!process && kill(pid, 0) && errno == EPERM)
        rc = fks_fail(error, FORKSAFE_EACCESS,
                      "process %d is another user's and hidden from this one: run it as root",
                      (int)pid);
    else if (!process)
        rc = fks_fail(error, FORKSAFE_ENOENT, "no process %d runs here", (int)pid);
    else
        take_below(doctor, &list, find_master(&list, process));
out:
    free(list.items);
    return rc;
}
