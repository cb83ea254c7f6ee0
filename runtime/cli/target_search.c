/* SPDX-License-Identifier: MIT
 *
 * Finding journals on the disk (target_search.h). One that cannot be read never keeps the others
 * from being found.
 */
#include "target_search.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/runtime_dir.h"

static int weight(int code)
{
    switch (code) {
    case 0:
    case FORKSAFE_ENOENT:
        return 0;
    case FORKSAFE_EACCESS:
        return 3;
    case FORKSAFE_EVERSION:
        return 2;
    default:
        return 1;
    }
}

static void left_out(struct fks_search *search, const struct fks_error *error)
{
    char *notes = NULL;
    if (!weight(error->code))
        return;
    if (weight(error->code) > weight(search->problem.code))
        search->problem = *error;
    if (asprintf(&notes, "%s%s\n", search->notes ? search->notes : "", error->text) < 0)
        return;
    free(search->notes);
    search->notes = notes;
}

static void name_instance(struct fks_found_journal *journal, const char *instance)
{
    size_t length;
    const char *text =
        fks_reader_string(journal->reader, fks_reader_header(journal->reader)->instance, &length);
    if (instance)
        snprintf(journal->instance, sizeof journal->instance, "%s", instance);
    else
        snprintf(journal->instance, sizeof journal->instance, "%.*s",
                 (int)(length < 255 ? length : 255), text);
}

int fks_search_add(struct fks_search *search, const char *path, const char *instance,
                   struct fks_error *error)
{
    struct fks_error own;
    struct fks_found_journal journal = {0};
    int rc = fks_reader_open(&journal.reader, path, &own);
    if (rc) {
        left_out(search, &own);
        if (error)
            *error = own;
        return rc;
    }
    struct fks_found_journal *more =
        realloc(search->journals, (search->count + 1) * sizeof *search->journals);
    if (!more) {
        fks_reader_close(journal.reader);
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: no memory", path);
    }
    struct stat st = {0};
    (void)stat(path, &st);
    journal.modified_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    journal.is_alive = fks_reader_master_alive(journal.reader);
    name_instance(&journal, instance);
    search->journals = more;
    search->journals[search->count++] = journal;
    return 0;
}

/* Opens a directory, which may be a symbolic link only where `follow` says so. */
static DIR *open_dir(struct fks_search *search, const char *path, bool follow)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && errno == EACCES) {
        struct fks_error denied;
        fks_fail(&denied, FORKSAFE_EACCESS,
                 "%s: permission denied; be the server's user, root, or in forksafe.journal_group",
                 path);
        left_out(search, &denied);
    }
    return dir;
}

static bool is_journal_name(const char *name)
{
    size_t length = strlen(name);
    return *name != '.' && length > 8 && !strcmp(name + length - 8, ".journal");
}

static void search_instance_dir(struct fks_search *search, const char *path, const char *instance)
{
    DIR *dir = open_dir(search, path, false);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char file[FKS_PATH];
        if (is_journal_name(entry->d_name) &&
            snprintf(file, sizeof file, "%s/%s", path, entry->d_name) < FKS_PATH)
            (void)fks_search_add(search, file, instance, NULL);
    }
    closedir(dir);
}

static int search_one(const char *runtime_dir, void *data)
{
    struct fks_search *search = data;
    char path[FKS_PATH];
    if (snprintf(path, sizeof path, "%s/%s", runtime_dir, search->only) < FKS_PATH)
        search_instance_dir(search, path, search->only);
    return 0;
}

static int search_every(const char *runtime_dir, void *data)
{
    struct fks_search *search = data;
    DIR *dir = open_dir(search, runtime_dir, true);
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[FKS_PATH];
        if (*entry->d_name != '.' &&
            snprintf(path, sizeof path, "%s/%s", runtime_dir, entry->d_name) < FKS_PATH)
            search_instance_dir(search, path, entry->d_name);
    }
    closedir(dir);
    return 0;
}

void fks_search_all(struct fks_search *search)
{
    (void)fks_runtime_dir_each(search->runtime_dir, search_every, search);
}

void fks_search_instance(struct fks_search *search, const char *instance)
{
    search->only = instance;
    (void)fks_runtime_dir_each(search->runtime_dir, search_one, search);
    search->only = NULL;
}

/* 0: the journal does not know the process; 1: it knows it as dead; 2: it lives. */
static int knowledge_of(struct fks_reader *reader, pid_t pid)
{
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    int best = 0;
    if (header->master_pid == pid)
        best = fks_reader_master_alive(reader) ? 2 : 1;
    for (uint32_t i = 0; best < 2 && i < header->slot_count; i++) {
        struct fks_reader_slot slot;
        if (!fks_reader_slot_is_of(reader, i, pid) ||
            fks_reader_slot_read(reader, i, &slot, NULL) <= 0)
            continue;
        best = slot.alive ? 2 : 1;
    }
    return best;
}

long fks_search_pid(struct fks_search *search, pid_t pid)
{
    long match = -1;
    int best = 0;
    for (size_t i = 0; i < search->count; i++) {
        int known = knowledge_of(search->journals[i].reader, pid);
        if (known < best || !known)
            continue;
        if (known == best && search->journals[i].modified_ns < search->journals[match].modified_ns)
            continue;
        match = (long)i;
        best = known;
    }
    return match;
}

void fks_search_clear(struct fks_search *search)
{
    for (size_t i = 0; i < search->count; i++)
        fks_reader_close(search->journals[i].reader);
    search->count = 0;
}

void fks_search_finish(struct fks_search *search)
{
    fks_search_clear(search);
    free(search->journals);
    free(search->notes);
    search->journals = NULL;
    search->notes = NULL;
}
