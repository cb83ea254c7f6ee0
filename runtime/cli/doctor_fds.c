/* SPDX-License-Identifier: MIT
 *
 * What the processes have open (doctor.h): one kcmp(2) for a descriptor that a process has from the
 * one it was forked from, and one readlinkat for another, whose link's text says what it is. In the
 * command only.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Standard streams and what they were duplicated to are a container's own, whatever they are. */
struct streams {
    struct fks_doctor_fd items[3];
    size_t count;
};

static bool starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* FNV-1a. */
static uint64_t hash(const char *text)
{
    uint64_t value = 0xcbf29ce484222325;
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 0x100000001b3;
    return value;
}

/* Fills type and key. Returns false for what never matters. */
static bool classify(struct fks_doctor_fd *fd, const char *text)
{
    fd->key = 0;
    if (starts(text, "socket:[")) {
        fd->type = FKS_FINDING_CONNECTION;
        fd->key = strtoull(text + 8, NULL, 10);
        return true;
    }
    if (starts(text, "anon_inode:")) {
        fd->type = fks_kind_of_link(text);
        return fd->type != FKS_FINDING_KIND_COUNT;
    }
    fd->type = starts(text, "/dev/nvidia") ? FKS_FINDING_DEVICE : FKS_FINDING_FILE;
    fd->key = hash(text);
    return fd->type == FKS_FINDING_DEVICE || fks_is_kept_path(text);
}

static bool is_stream(struct streams *streams, const struct fks_doctor_fd *fd)
{
    if (fd->number <= 2 && streams->count < COUNT(streams->items)) {
        streams->items[streams->count++] = *fd;
        return true;
    }
    for (size_t i = 0; fd->key && i < streams->count; i++)
        if (streams->items[i].type == fd->type && streams->items[i].key == fd->key)
            return true;
    return false;
}

/* The descriptors of a process that was looked at before, in the order of their numbers. */
struct former {
    size_t at, end; /* indices */
};

/* NULL: it has none of that number. Numbers are asked for in ascending order. */
static const struct fks_doctor_fd *find(const struct fks_doctor *doctor, struct former *former,
                                        int number)
{
    while (former->at < former->end && doctor->fds[former->at].number < number)
        former->at++;
    if (former->at == former->end || doctor->fds[former->at].number != number)
        return NULL;
    return &doctor->fds[former->at];
}

/* One process. Its descriptors are compared with those of the process it was forked from, and with
 * those of the one forked before it: what their parent has closed since is the same in both. */
struct look {
    DIR *directory;
    size_t process;
    struct former parent, sibling;
};

static void keep(struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    if (doctor->fd_count == doctor->fd_room) {
        size_t room = doctor->fd_room ? 2 * doctor->fd_room : 4096;
        void *grown = reallocarray(doctor->fds, room, sizeof *doctor->fds);
        if (!grown) {
            doctor->failed = true;
            return;
        }
        doctor->fds = grown;
        doctor->fd_room = room;
    }
    doctor->fds[doctor->fd_count++] = *fd;
}

/* Where the kernel does not tell: a worker has from its master what both have under one number. Not
 * so two workers, which each open their own alike. */
static bool looks_inherited(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd,
                            const struct fks_doctor_fd *parent)
{
    return fd->type == parent->type && fd->key == parent->key &&
           doctor->processes[fd->process].role == FKS_DOCTOR_WORKER;
}

/* Fills type, key and description; type FKS_FINDING_KIND_COUNT: it never matters. Returns false
 * where it was closed meanwhile. */
static bool look_at(struct fks_doctor *doctor, struct look *look, const char *name,
                    struct fks_doctor_fd *fd)
{
    char text[4096];
    const struct fks_doctor_fd *parent = find(doctor, &look->parent, fd->number);
    const struct fks_doctor_fd *sibling = find(doctor, &look->sibling, fd->number);
    enum fks_doctor_same as_parent =
        parent ? fks_doctor_same_number(doctor, look->process, parent) : FKS_DOCTOR_OTHER;
    const struct fks_doctor_fd *same = as_parent == FKS_DOCTOR_SAME ? parent : NULL;
    if (!same) {
        ssize_t length = readlinkat(dirfd(look->directory), name, text, sizeof text - 1);
        if (length < 0)
            return false;
        text[length] = '\0';
        if (!classify(fd, text))
            fd->type = FKS_FINDING_KIND_COUNT;
        if (as_parent == FKS_DOCTOR_NOT_TOLD && looks_inherited(doctor, fd, parent))
            same = parent;
        else if (sibling && fd->type == sibling->type && fd->key == sibling->key &&
                 fd->type != FKS_FINDING_CONNECTION && fd->type != FKS_FINDING_KIND_COUNT &&
                 fks_doctor_same_number(doctor, look->process, sibling) == FKS_DOCTOR_SAME)
            same = sibling;
    }
    if (same) {
        fd->type = same->type;
        fd->key = same->key;
    }
    fd->description = same ? same->description : (uint32_t)doctor->fd_count;
    return true;
}

static void read_directory(struct fks_doctor *doctor, struct look *look)
{
    struct fks_doctor_fd fd = {.process = (uint32_t)look->process};
    for (struct dirent *entry; (entry = readdir(look->directory));) { /* numbers ascend */
        if (*entry->d_name == '.')
            continue;
        fd.number = atoi(entry->d_name);
        if (look_at(doctor, look, entry->d_name, &fd))
            keep(doctor, &fd);
    }
}

static DIR *open_directory(const struct fks_doctor *doctor, struct fks_doctor_process *process)
{
    char name[32];
    snprintf(name, sizeof name, "%d/fd", (int)process->pid);
    int fd = openat(dirfd(doctor->proc), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    process->gone = fd < 0 && (errno == ENOENT || errno == ESRCH);
    process->readable = directory != NULL;
    if (!directory && fd >= 0)
        close(fd);
    return directory;
}

/* Forgets what never matters, and standard streams. */
static void sift(struct fks_doctor *doctor)
{
    struct streams streams = {0};
    size_t kept = 0;
    for (size_t i = 0; i < doctor->fd_count; i++) {
        const struct fks_doctor_fd *fd = &doctor->fds[i];
        if (i && fd->process != fd[-1].process)
            streams.count = 0;
        if (fd->type != FKS_FINDING_KIND_COUNT && !is_stream(&streams, fd))
            doctor->fds[kept++] = *fd;
    }
    doctor->fd_count = kept;
}

void fks_doctor_fds(struct fks_doctor *doctor)
{
    struct former *all = calloc(doctor->process_count, sizeof *all);
    if (!all) {
        doctor->failed = true;
        return;
    }
    for (size_t i = 0; i < doctor->process_count; i++) {
        struct fks_doctor_process *process = &doctor->processes[i];
        struct look look = {.directory = open_directory(doctor, process), .process = i};
        all[i] = (struct former){doctor->fd_count, doctor->fd_count};
        if (!look.directory)
            continue;
        if (i)
            look.parent = all[process->parent];
        if (i > 1 && doctor->processes[i - 1].parent == process->parent)
            look.sibling = all[i - 1];
        read_directory(doctor, &look);
        all[i].end = doctor->fd_count;
        closedir(look.directory);
    }
    free(all);
    sift(doctor);
}

bool fks_doctor_fdinfo(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd,
                       unsigned *flags, unsigned long long *position)
{
    char text[512];
    *flags = 0;
    *position = 0;
    ssize_t length = fks_doctor_read(doctor, text, sizeof text, "%d/fdinfo/%d",
                                     (int)doctor->processes[fd->process].pid, fd->number);
    return length > 0 && sscanf(text, "pos: %llu flags: %o", position, flags) == 2;
}

bool fks_doctor_watches(const struct fks_doctor *doctor, const struct fks_doctor_fd *epoll,
                        int number)
{
    static char text[65536]; /* a line for each descriptor in the set */
    if (fks_doctor_read(doctor, text, sizeof text, "%d/fdinfo/%d",
                        (int)doctor->processes[epoll->process].pid, epoll->number) <= 0)
        return false;
    for (const char *line = text; (line = strstr(line, "tfd:")); line++)
        if (atoi(line + 4) == number)
            return true;
    return false;
}
