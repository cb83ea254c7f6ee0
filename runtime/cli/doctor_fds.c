/* SPDX-License-Identifier: MIT
 *
 * What the processes have open (doctor.h): one readlinkat a descriptor, relative to its directory,
 * and no stat: the link's text says what it is. In the command only.
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

static void read_directory(struct fks_doctor *doctor, size_t process, DIR *directory)
{
    struct fks_doctor_fd fd = {.process = (uint32_t)process};
    struct streams streams = {0};
    char text[4096];
    for (struct dirent *entry; (entry = readdir(directory));) { /* in the order of the numbers */
        if (*entry->d_name == '.')
            continue;
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, text, sizeof text - 1);
        if (length < 0)
            continue; /* closed since */
        text[length] = '\0';
        fd.number = atoi(entry->d_name);
        if (classify(&fd, text) && !is_stream(&streams, &fd))
            keep(doctor, &fd);
    }
}

void fks_doctor_fds(struct fks_doctor *doctor)
{
    for (size_t i = 0; i < doctor->process_count; i++) {
        struct fks_doctor_process *process = &doctor->processes[i];
        char name[32];
        snprintf(name, sizeof name, "%d/fd", (int)process->pid);
        int fd = openat(dirfd(doctor->proc), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd < 0 ? NULL : fdopendir(fd);
        process->gone = fd < 0 && (errno == ENOENT || errno == ESRCH);
        process->readable = directory != NULL;
        if (!directory && fd >= 0)
            close(fd);
        if (!directory)
            continue;
        read_directory(doctor, i, directory);
        closedir(directory);
    }
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
