/* SPDX-License-Identifier: MIT
 *
 * Makes a master's journal, or finds the one it already has: the only file of the writing side that
 * touches the file system. Master only, before the first fork. journal_file.c is about one file,
 * this about which file it shall be.
 */
#include "journal_private.h"

#include "guards.h"
#include "journal_file.h"
#include "runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TURN_TRIES 200 /* of 5 ms: for another master that works in the same directory */

/* Everything that one fks_journal_open decides. */
struct making {
    const struct fks_journal_spec *spec;
    struct fks_file_identity identity;
    struct fks_geometry geometry;
    uid_t uid;
    gid_t gid;
    char directory[FKS_PATH];
    char name[256]; /* of the journal in that directory */
    int directory_fd;
    bool fixed;  /* forksafe.journal gives the path */
    int warning; /* the journal is there, but not quite as asked for */
    struct fks_error *error;
};

static int fail_errno(const struct making *making, const char *what)
{
    bool denied = errno == EACCES || errno == EPERM || errno == EROFS;
    return fks_fail(making->error, denied ? FORKSAFE_EACCESS : FORKSAFE_EJOURNAL,
                    "%s/%s: %s: %s; make room for it there, or set forksafe.%s to another place",
                    making->directory, making->name, what, strerror(errno),
                    making->fixed ? "journal" : "runtime_dir");
}

/* --- who and how large --- */

/* The group that may read: forksafe.journal_group, else the workers'. */
static void find_group(struct making *making)
{
    const char *name = making->spec->config->journal_group;
    making->gid = making->spec->worker_gid;
    if (!name || !*name)
        return;
    struct group entry, *found = NULL;
    char text[4096];
    if (getgrnam_r(name, &entry, text, sizeof text, &found) == 0 && found)
        making->gid = found->gr_gid;
    else
        making->warning = fks_fail(making->error, FORKSAFE_EJOURNAL,
                                   "forksafe.journal_group: there is no such group; the journal is "
                                   "for the workers' group");
}

static int find_geometry(struct making *making)
{
    const struct fks_journal_spec *spec = making->spec;
    if (fks_geometry_init(&making->geometry, spec->config->max_workers, spec->config->records,
                          spec->subscribers) == 0)
        return 0;
    return fks_fail(
        making->error, FORKSAFE_EJOURNAL,
        "forksafe.max_workers times forksafe.records is too large for a journal: at most "
        "%u records in all",
        FORKSAFE_MAX_RECORDS_ALL);
}

/* --- where --- */

static int split_fixed_path(struct making *making)
{
    const char *path = making->spec->config->journal, *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    const char *name = slash ? slash + 1 : path;
    if (!*name || strlen(name) >= sizeof making->name - 64 || length >= sizeof making->directory)
        return fks_fail(making->error, FORKSAFE_EJOURNAL, "%s: forksafe.journal is no usable path",
                        path);
    snprintf(making->name, sizeof making->name, "%s", name);
    snprintf(making->directory, sizeof making->directory, "%.*s",
             slash ? (int)(length ? length : 1) : 1, slash ? path : ".");
    return 0;
}

static int find_directory(struct making *making)
{
    const struct fks_config *config = making->spec->config;
    making->fixed = config->journal && *config->journal;
    int rc;
    if (making->fixed) {
        rc = split_fixed_path(making);
    } else {
        snprintf(making->name, sizeof making->name, "%ld-%llu.journal",
                 (long)making->identity.master_pid,
                 (unsigned long long)making->identity.master_start_ticks);
        rc = fks_runtime_dir_make(making->directory, config, making->uid, making->gid,
                                  making->error);
    }
    if (rc)
        return rc;
    making->directory_fd = open(making->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return making->directory_fd < 0 ? fail_errno(making, "cannot open its directory") : 0;
}

/* Masters that start at the same time take turns in one directory. A turn is no more than a
 * courtesy to a fixed path: without one, link() still keeps two from sharing a name. */
static void take_turn(const struct making *making)
{
    for (int i = 0; i < TURN_TRIES; i++) {
        if (flock(making->directory_fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

/* --- which file --- */

/* Another journal has our name, and cannot be gone on with: out of the way with it, kept for
 * --previous. */
static int rename_away(const struct making *making, const struct fks_found *found)
{
    char name[sizeof making->name + 32];
    snprintf(name, sizeof name, "%ld-%llu-%llu.journal", (long)making->identity.master_pid,
             (unsigned long long)making->identity.master_start_ticks,
             (unsigned long long)fks_now());
    fks_file_mark_closed(found->fd);
    return renameat(making->directory_fd, making->name, making->directory_fd, name);
}

/* Takes what stands at a fixed path away, where that is a dead master's journal or our own former
 * one. */
static int clear_fixed_path(const struct making *making, const struct fks_found *found)
{
    if (found->is_alive && !found->is_ours)
        return fks_fail(
            making->error, FORKSAFE_EJOURNAL,
            "%s/%s: forksafe.journal is in use by the master %ld; two masters cannot share "
            "one: give each its own ini, or leave forksafe.journal out",
            making->directory, making->name, (long)found->master_pid);
    return unlinkat(making->directory_fd, making->name, 0) ? fail_errno(making, "cannot replace it")
                                                           : 0;
}

/* Looks at what stands under our name. Returns 1 with *journal where it is ours and suits, 0 where
 * the name is free now, negative where it cannot be had. */
static int use_existing(struct fks_journal *journal, struct making *making)
{
    struct fks_found found;
    const char *why =
        fks_file_find(&found, making->directory_fd, making->name, &making->identity, making->uid);
    if (why)
        return fks_fail(making->error, FORKSAFE_EJOURNAL,
                        "%s/%s: %s; it is left alone: remove it, or set "
                        "forksafe.journal to another path",
                        making->directory, making->name, why);
    if (found.fd < 0)
        return errno == ENOENT ? 0 : fail_errno(making, "cannot open it");
    int rc;
    if (!found.is_journal && fks_guard(FKS_GUARD_STATE_FILES))
        rc = fks_fail(
            making->error, FORKSAFE_EJOURNAL,
            "%s/%s: is no journal; it is left alone: remove it, or set forksafe.journal to "
            "another path",
            making->directory, making->name);
    else if (found.is_ours && fks_file_adopt(journal, found.fd, &making->geometry) == 0)
        rc = 1;
    else if (making->fixed)
        rc = clear_fixed_path(making, &found);
    else
        rc = rename_away(making, &found) ? fail_errno(making, "cannot move a former journal away")
                                         : 0;
    close(found.fd);
    return rc;
}

static void intern_names(struct fks_journal *journal, const struct fks_journal_spec *spec)
{
    struct forksafe_journal_header *header = journal->header;
    header->instance = fks_journal_intern(journal, spec->config->instance);
    header->ini = fks_journal_intern(journal, spec->ini);
    header->app = fks_journal_intern(journal, spec->app);
    header->container = fks_journal_intern(journal, spec->container);
    header->server_version = fks_journal_intern(journal, spec->server_version);
    header->forksafe_version = fks_journal_intern(journal, FORKSAFE_VERSION);
}

/* Hands a new file to those who shall read and write it, whatever the umask was. */
static int hand_over(int fd, struct making *making)
{
    if (geteuid() == 0 && fchown(fd, making->uid, (gid_t)-1))
        return fail_errno(making, "cannot give it to the workers' user");
    if (making->gid != (gid_t)-1 && fchown(fd, (uid_t)-1, making->gid))
        making->warning =
            fks_fail(making->error, FORKSAFE_EACCESS,
                     "%s/%s: cannot give it to forksafe.journal_group (%s); only this "
                     "user and its own group can read it",
                     making->directory, making->name, strerror(errno));
    return fchmod(fd, 0640) ? fail_errno(making, "cannot set its mode") : 0;
}

/* Gives the file its name, unless another has it. Returns 1 then. */
static int put_in_place(const struct making *making, const char *temporary)
{
    int fd = making->directory_fd;
    if (renameat2(fd, temporary, fd, making->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL && linkat(fd, temporary, fd, making->name, 0) == 0)
        return 0; /* a file system without that flag; the caller removes the other name */
    return errno == EEXIST ? 1 : fail_errno(making, "cannot put it in its place");
}

/* A new file, complete before it gets its name. */
static int make_file(struct fks_journal *journal, struct making *making)
{
    char temporary[sizeof making->name + 64];
    snprintf(temporary, sizeof temporary, ".%s.%ld.tmp", making->name, (long)getpid());
    (void)unlinkat(making->directory_fd, temporary,
                   0); /* left by one that was killed and had our pid */
    int fd = openat(making->directory_fd, temporary,
                    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(making, "cannot make it");
    int rc;
    if (fks_file_fill(journal, fd, &making->geometry, &making->identity)) {
        rc = fail_errno(making, "cannot make it");
        goto remove;
    }
    intern_names(journal, making->spec);
    rc = hand_over(fd, making);
    if (!rc)
        rc = put_in_place(making, temporary);
    if (rc)
        fks_file_unmap(journal);
remove:
    (void)unlinkat(making->directory_fd, temporary, 0);
    close(fd);
    return rc;
}

/* A sibling may make the file between our look and our link: then we look again. */
static int find_or_make(struct fks_journal *journal, struct making *making)
{
    for (int tries = 0; tries < 3; tries++) {
        int rc = use_existing(journal, making);
        if (rc)
            return rc > 0 ? 0 : rc;
        rc = make_file(journal, making);
        if (rc <= 0)
            return rc;
    }
    return fks_fail(making->error, FORKSAFE_EJOURNAL, "%s/%s: it changes all the time",
                    making->directory, making->name);
}

static int open_file(struct fks_journal *journal, struct making *making)
{
    int rc = find_geometry(making);
    if (!rc)
        rc = find_directory(making);
    if (rc)
        return rc;
    take_turn(making);
    rc = find_or_make(journal, making);
    if (!rc && !making->fixed)
        fks_file_prune(making->directory_fd, making->name, making->spec->config->journal_keep);
    close(making->directory_fd); /* ends the turn */
    if (rc)
        return rc;
    if (asprintf(&journal->path, "%s/%s", making->directory, making->name) < 0)
        journal->path = NULL;
    return 0;
}

/* No file: the same thing in memory that only our own processes share, smaller if it must be. */
static int open_anonymous(struct fks_journal *journal, struct making *making)
{
    struct fks_geometry *geometry = &making->geometry;
    if (geometry->slots && fks_file_fill(journal, -1, geometry, &making->identity) == 0)
        goto made;
    if (fks_geometry_init(geometry, 64, 8, making->spec->subscribers) ||
        fks_file_fill(journal, -1, geometry, &making->identity))
        return FORKSAFE_ENOMEM;
made:
    intern_names(journal, making->spec);
    return 0;
}

/* Goes on in the slot that this process had before it was executed anew. */
static void resume_slot(struct fks_journal *journal)
{
    pid_t self = getpid();
    for (uint32_t i = 0; journal->header->master_pid == self && i < journal->slot_count; i++) {
        uint64_t claim = FKS_LOAD(journal->claims[i]);
        struct forksafe_slot *slot = fks_slot_at(journal, i);
        if (FORKSAFE_CLAIM_PID(claim) != self || claim & FORKSAFE_CLAIM_RELEASED ||
            FKS_LOAD(slot->owner) != claim)
            continue;
        journal->slot = slot;
        journal->pid = self;
        return;
    }
}

/* The first journal of a process lies beside the library's other variables: a child writes to those
 * as well, and so copies one page and not two. */
static struct fks_journal first;
static bool first_in_use;

static struct fks_journal *allocate(void)
{
    if (first_in_use)
        return calloc(1, sizeof(struct fks_journal));
    first_in_use = true;
    return &first;
}

static void release(struct fks_journal *journal)
{
    if (journal != &first) {
        free(journal);
        return;
    }
    memset(&first, 0, sizeof first);
    first_in_use = false;
}

int fks_journal_open(struct fks_journal **out, const struct fks_journal_spec *spec,
                     struct fks_error *error)
{
    struct making making = {.spec = spec, .uid = spec->worker_uid, .error = error};
    struct fks_journal *journal = *out = allocate();
    if (!journal)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory for a journal");
    fks_identity_init(&making.identity, spec->master ? spec->master : getpid());
    find_group(&making);
    int rc = open_file(journal, &making);
    if (rc && open_anonymous(journal, &making)) {
        release(journal);
        *out = NULL;
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory for a journal");
    }
    journal->generation = journal->header->generation;
    resume_slot(journal);
    return rc ? rc : making.warning;
}

void fks_journal_close(struct fks_journal *journal)
{
    if (!journal)
        return;
    fks_file_unmap(journal);
    free(journal->path);
    release(journal);
}

const char *fks_journal_path(const struct fks_journal *journal)
{
    return journal->path;
}

const struct forksafe_journal_header *fks_journal_header(const struct fks_journal *journal)
{
    return journal->header;
}

size_t fks_journal_size(const struct fks_journal *journal)
{
    return journal->size;
}
