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

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum { MAGIC_ROOM = 32, PATH_ROOM = 4096 };

static const struct {
    const char *name;
    size_t at, length;
    const char *bytes;
} databases[] = {
    {"SQLite", 0, 16, "SQLite format 3"},
    {"LMDB", 16, 4, "\xde\xc0\xef\xbe"},
};

/* Belong to a database that is a finding itself. */
static const char *const companions[] = {"-wal",           "-shm",           "-journal",
                                         "-wal (deleted)", "-shm (deleted)", "-journal (deleted)"};

/* "SQLite", or NULL: not a database we know. Opens the file anew, as we know by now that it is
 * regular. */
static const char *database_of(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    char path[64], bytes[MAGIC_ROOM];
    snprintf(path, sizeof path, "%d/fd/%d", (int)doctor->processes[fd->process].pid, fd->number);
    int file = openat(dirfd(doctor->proc), path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    ssize_t got = pread(file, bytes, sizeof bytes, 0);
    close(file);
    for (size_t i = 0; i < COUNT(databases); i++)
        if (got >= (ssize_t)(databases[i].at + databases[i].length) &&
            !memcmp(bytes + databases[i].at, databases[i].bytes, databases[i].length))
            return databases[i].name;
    return NULL;
}

static bool is_companion(const char *path)
{
    size_t length = strlen(path);
    for (size_t i = 0; i < COUNT(companions); i++) {
        size_t end = strlen(companions[i]);
        if (length > end && !strcmp(path + length - end, companions[i]))
            return true;
    }
    return false;
}

/* One open file description that several have. */
static void judge_description(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    unsigned flags;
    unsigned long long position;
    char path[PATH_ROOM], what[PATH_ROOM + 128], fix[512], object[64];
    if (!fks_doctor_fdinfo(doctor, fds, &flags, &position) || (flags & O_PATH) ||
        (flags & O_ACCMODE) == O_RDONLY)
        return;
    if (fks_doctor_link(doctor, path, sizeof path, "%d/fd/%d",
                        (int)doctor->processes[fds->process].pid, fds->number) <= 0 ||
        is_companion(path))
        return;
    const char *database = database_of(doctor, fds);
    if (!database && ((flags & O_APPEND) || !position))
        return;
    struct fks_doctor_thing thing = {
        .kind = database ? "shared-database" : "shared-file",
        .severity = database ? FKS_DOCTOR_HIGH : FKS_DOCTOR_MEDIUM,
        .of = "path",
        .subject = path,
        .what = what,
        .fix = fix,
        .object = object,
        .number = fds->number,
    };
    if (database)
        snprintf(what, sizeof what, "the %s database %s was opened before the fork and is open in",
                 database, path);
    else
        snprintf(
            what, sizeof what,
            "the file %s was opened for writing before the fork and is written at one offset by",
            path);
    snprintf(object, sizeof object, "descriptor %d at offset %llu", fds->number, position);
    fks_doctor_fix_kind(doctor, fix, sizeof fix, thing.kind, path);
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
    size_t written = 0;
    snprintf(path, sizeof path, "%d/fd/%d", (int)doctor->processes[fds->process].pid, fds->number);
    if (fstatat(dirfd(doctor->proc), path, &status, 0) || !S_ISREG(status.st_mode))
        return;
    for (size_t i = 0; i < count; i++)
        if (is_written(doctor, &fds[i]))
            fds[written++] = fds[i];
    fks_doctor_split(doctor, fds, written, judge_description);
}

void fks_doctor_judge_device(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    char path[PATH_ROOM], what[PATH_ROOM + 128], fix[512];
    if (fks_doctor_link(doctor, path, sizeof path, "%d/fd/%d",
                        (int)doctor->processes[fds->process].pid, fds->number) <= 0)
        return;
    snprintf(what, sizeof what,
             "CUDA was initialised before the fork, which it does not survive: %s "
             "is open in",
             path);
    fks_doctor_fix_kind(doctor, fix, sizeof fix, "inherited-device", path);
    struct fks_doctor_thing thing = {.kind = "inherited-device",
                                     .severity = FKS_DOCTOR_HIGH,
                                     .of = "path",
                                     .subject = path,
                                     .what = what,
                                     .fix = fix,
                                     .object = path,
                                     .number = fds->number};
    fks_doctor_add_holders(doctor, &thing, fds, count);
}
