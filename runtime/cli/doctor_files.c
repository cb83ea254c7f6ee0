/* SPDX-License-Identifier: MIT
 *
 * What is judged of regular files and devices that several processes have open (doctor.h):
 * databases by their first bytes, files that are written at one offset. Files that are only read or
 * appended to, and those whose offset nobody has moved (locks, heartbeats, mappings), are not
 * findings. In the command only.
 */
#include "doctor.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

/* "SQLite", or NULL: not a database we know. Opens the file anew, as we know by now that it is
 * regular. */
static const char *database_of(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    char path[64], bytes[FKS_MAGIC_ROOM];
    snprintf(path, sizeof path, "%d/fd/%d", (int)doctor->processes[fd->process].pid, fd->number);
    int file = openat(dirfd(doctor->proc), path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    ssize_t got = pread(file, bytes, sizeof bytes, 0);
    close(file);
    return got > 0 ? fks_database_of(bytes, (size_t)got) : NULL;
}

/* One open file description that several have. */
static void judge_description(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    unsigned flags;
    unsigned long long position;
    char path[PATH_ROOM], subject[PATH_ROOM], object[96];
    if (!fks_doctor_fdinfo(doctor, fds, &flags, &position) || (flags & O_PATH) ||
        (flags & O_ACCMODE) == O_RDONLY)
        return;
    if (fks_doctor_link(doctor, path, sizeof path, "%d/fd/%d",
                        (int)doctor->processes[fds->process].pid, fds->number) <= 0 ||
        fks_is_companion(path))
        return;
    const char *database = database_of(doctor, fds);
    if (!database && ((flags & O_APPEND) || !position))
        return;
    fks_file_subject(subject, sizeof subject, path);
    struct fks_doctor_thing thing = {
        .kind = database ? FKS_FINDING_DATABASE : FKS_FINDING_FILE,
        .subject = subject,
        .object = object,
        .number = fds->number,
    };
    snprintf(object, sizeof object, "%s%sdescriptor %d at offset %llu", database ? database : "",
             database ? ", " : "", fds->number, position);
    fks_doctor_add_holders(doctor, &thing, fds, count);
}

/* Whether it was opened for writing, by the mode of its link: cheaper than kcmp(2). */
static bool is_written(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "%d/fd/%d", (int)doctor->processes[fd->process].pid, fd->number);
    return !fstatat(dirfd(doctor->proc), path, &status, AT_SYMLINK_NOFOLLOW) &&
           (status.st_mode & S_IWUSR);
}

/* All that the processes have open under one path: most of it is only read. */
void fks_doctor_judge_file(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "%d/fd/%d", (int)doctor->processes[fds->process].pid, fds->number);
    if (fstatat(dirfd(doctor->proc), path, &status, 0) || !S_ISREG(status.st_mode))
        return;
    fks_doctor_split(doctor, fds, count, is_written, judge_description);
}

void fks_doctor_judge_device(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    char path[PATH_ROOM];
    if (fks_doctor_link(doctor, path, sizeof path, "%d/fd/%d",
                        (int)doctor->processes[fds->process].pid, fds->number) <= 0)
        return;
    struct fks_doctor_thing thing = {
        .kind = FKS_FINDING_DEVICE, .subject = path, .object = path, .number = fds->number};
    fks_doctor_add_holders(doctor, &thing, fds, count);
}
