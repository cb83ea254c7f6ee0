/* SPDX-License-Identifier: MIT
 *
 * What a TARGET means (target.h): the one place that knows for all commands. target_search.c looks
 * the journals up.
 */
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/config.h"
#include "core/runtime_dir.h"
#include "target_search.h"

static bool is_pid(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10;
}

static bool is_path(const char *text)
{
    size_t length = strlen(text);
    struct stat st;
    return strpbrk(text, "/#") || (length > 4 && !strcmp(text + length - 4, ".ini")) ||
           (stat(text, &st) == 0 && S_ISREG(st.st_mode));
}

/* By its first bytes; one that cannot be read, by its name. */
static bool is_journal(const char *path)
{
    char magic[sizeof FORKSAFE_JOURNAL_MAGIC] = "";
    size_t length = strlen(path);
    struct stat st;
    if (access(path, R_OK))
        return length > 8 && !strcmp(path + length - 8, ".journal");
    FILE *file = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? fopen(path, "re") : NULL;
    if (!file)
        return false;
    size_t got = fread(magic, 1, sizeof magic - 1, file);
    fclose(file);
    return got == sizeof magic - 1 && !strcmp(magic, FORKSAFE_JOURNAL_MAGIC);
}

/* --- which of the journals that were found --- */

static int oldest_first(const void *a, const void *b)
{
    const struct fks_found_journal *one = a, *other = b;
    int order = strcmp(one->instance, other->instance);
    if (order)
        return order;
    if (one->is_alive != other->is_alive)
        return one->is_alive - other->is_alive;
    uint64_t created = fks_reader_header(one->reader)->created;
    uint64_t other_created = fks_reader_header(other->reader)->created;
    if (!one->is_alive) { /* of different boots, perhaps: only the file's time compares */
        created = one->modified_ns;
        other_created = other->modified_ns;
    }
    return (created > other_created) - (created < other_created);
}

/* One instance's stretch of the sorted journals: takes the readers that are meant. Returns how
 * many. */
static size_t take(struct fks_target *out, struct fks_found_journal *journals, size_t count,
                   bool previous)
{
    size_t dead = 0;
    while (dead < count && !journals[dead].is_alive)
        dead++;
    size_t from = previous ? dead - 1 : dead, to = previous ? dead : count;
    if ((previous && !dead) || from == to)
        return 0;
    *out = (struct fks_target){.readers = calloc(to - from, sizeof *out->readers)};
    snprintf(out->instance, sizeof out->instance, "%s", journals[0].instance);
    for (size_t i = from; out->readers && i < to; i++) {
        out->readers[out->reader_count++] = journals[i].reader;
        journals[i].reader = NULL;
    }
    return out->reader_count;
}

static size_t stretch(const struct fks_found_journal *journals, size_t left)
{
    size_t length = 1;
    while (length < left && !strcmp(journals[length].instance, journals[0].instance))
        length++;
    return length;
}

static int group(struct fks_search *search, bool previous, struct fks_target **out, size_t *count,
                 struct fks_error *error)
{
    *count = 0;
    *out = calloc(search->count + 1, sizeof **out);
    if (!*out)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory");
    if (search->count)
        qsort(search->journals, search->count, sizeof *search->journals, oldest_first);
    for (size_t at = 0, length; at < search->count; at += length) {
        length = stretch(search->journals + at, search->count - at);
        if (take(*out + *count, search->journals + at, length, previous))
            (*count)++;
    }
    return 0;
}

/* --- saying what was not found --- */

/* Why nothing is left of what was found. `what` names what was looked for; `nothing` is the line
 * where no journal was found at all. */
static int fail_empty(const struct fks_search *search, const char *what, const char *nothing,
                      bool previous, struct fks_error *error)
{
    char searched[512];
    if (search->count && previous)
        return fks_fail(error, FORKSAFE_ENOENT,
                        "%s: no master has died yet whose journal is kept; leave --previous out",
                        what);
    if (search->count)
        return fks_fail(error, FORKSAFE_ENOENT,
                        "%s: no master lives; add --previous for the journal of the last one",
                        what);
    if (search->problem.code) {
        if (error)
            *error = search->problem;
        return search->problem.code;
    }
    fks_runtime_dir_list(search->runtime_dir, searched, sizeof searched);
    return fks_fail(error, FORKSAFE_ENOENT, "%s; searched: %s", nothing, searched);
}

static int finish(struct fks_search *search, const char *what, const char *nothing, bool previous,
                  struct fks_target **out, size_t *count, struct fks_error *error)
{
    int rc = group(search, previous, out, count, error);
    if (!rc && !*count)
        rc = fail_empty(search, what, nothing, previous, error);
    if (rc) {
        fks_target_close_all(*out, *count);
        *out = NULL;
        *count = 0;
    }
    return rc;
}

/* --- the kinds of target --- */

static int open_everything(struct fks_search *search, bool previous, struct fks_target **out,
                           size_t *count, struct fks_error *error)
{
    fks_search_all(search);
    return finish(search, "no TARGET given", "no server with forksafe was found", previous, out,
                  count, error);
}

static int open_instance(struct fks_search *search, const char *instance, bool previous,
                         struct fks_target **out, size_t *count, struct fks_error *error)
{
    char nothing[400];
    fks_search_instance(search, instance);
    snprintf(nothing, sizeof nothing, "no such instance: '%.250s'", instance);
    return finish(search, instance, nothing, previous, out, count, error);
}

static int open_journal(const char *path, struct fks_target **out, size_t *count,
                        struct fks_error *error)
{
    struct fks_search search = {0};
    int rc = fks_search_add(&search, path, NULL, error);
    *out = rc ? NULL : calloc(1, sizeof **out);
    if (*out) {
        (void)take(*out, search.journals, 1, !search.journals[0].is_alive);
        *count = 1;
    }
    fks_search_finish(&search);
    return rc || *out ? rc : fks_fail(error, FORKSAFE_ENOMEM, "%s: no memory", path);
}

static int search_ini(struct fks_search *search, const struct fks_config *config, const char *ini,
                      bool previous, struct fks_target **out, size_t *count,
                      struct fks_error *error)
{
    char nothing[800];
    search->runtime_dir = config->runtime_dir;
    if (config->journal && *config->journal)
        (void)fks_search_add(search, config->journal, config->instance, NULL);
    else
        fks_search_instance(search, config->instance);
    snprintf(nothing, sizeof nothing,
             "%.400s: its instance '%.250s' has not been started, or under another runtime_dir",
             ini, config->instance);
    return finish(search, ini, nothing, previous, out, count, error);
}

/* A wrong key is the server's complaint, and stands in the journal that is looked for here. */
static void overlook(const struct fks_error *complaint, void *data)
{
    (void)complaint;
    (void)data;
}

static int open_ini(struct fks_search *search, const char *ini, bool previous,
                    struct fks_target **out, size_t *count, struct fks_error *error)
{
    struct fks_settings *settings;
    struct fks_config config = {0};
    int rc = fks_settings_load(&settings, ini, NULL, NULL, 0, error);
    if (rc)
        return rc;
    rc = fks_config_init_lenient(&config, settings, overlook, NULL, error);
    if (!rc)
        rc = search_ini(search, &config, ini, previous, out, count, error);
    search->runtime_dir = NULL;
    fks_config_finish(&config);
    fks_settings_destroy(settings);
    return rc;
}

/* Leaves only the instance of the journal that knows the process; where its master is dead, only
 * that journal. */
static void keep_those_of(struct fks_search *search, size_t match)
{
    struct fks_found_journal kept = search->journals[match];
    size_t count = 0;
    for (size_t i = 0; i < search->count; i++) {
        struct fks_found_journal *journal = &search->journals[i];
        bool same = !strcmp(journal->instance, kept.instance);
        if (i == match || (same && kept.is_alive && journal->is_alive))
            search->journals[count++] = *journal;
        else
            fks_reader_close(journal->reader);
    }
    search->count = count;
}

static int open_pid(struct fks_search *search, const char *text, bool previous,
                    struct fks_target **out, size_t *count, struct fks_error *error)
{
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    char what[64], nothing[128];
    fks_search_all(search);
    long match = fks_search_pid(search, pid);
    snprintf(what, sizeof what, "process %ld", (long)pid);
    snprintf(nothing, sizeof nothing, "no journal knows process %ld; %s", (long)pid,
             fks_process_start(pid) ? "it lives, but is no process of a server with forksafe"
                                    : "there is no such process");
    if (match >= 0)
        keep_those_of(search, (size_t)match);
    else
        fks_search_clear(search);
    return finish(search, what, nothing, previous, out, count, error);
}

static void tell(char *notes, void (*note)(const char *line))
{
    char *rest = notes;
    for (char *line; rest && *(line = strsep(&rest, "\n"));)
        note(line);
}

int fks_target_open_all(struct fks_target **out, size_t *count, const char *target, bool previous,
                        void (*note)(const char *line), struct fks_error *error)
{
    struct fks_search search = {0};
    int rc;
    *out = NULL;
    *count = 0;
    if (!target)
        rc = open_everything(&search, previous, out, count, error);
    else if (is_pid(target))
        rc = open_pid(&search, target, previous, out, count, error);
    else if (!is_path(target))
        rc = open_instance(&search, target, previous, out, count, error);
    else if (is_journal(target))
        rc = open_journal(target, out, count, error);
    else
        rc = open_ini(&search, target, previous, out, count, error);
    if (!rc && note)
        tell(search.notes, note);
    fks_search_finish(&search);
    return rc;
}

/* "a, b and 3 more". */
static void list_names(const struct fks_target *targets, size_t count, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++) {
        if (used > size / 2) {
            snprintf(text + used, size - used, " and %zu more", count - i);
            return;
        }
        used +=
            (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", targets[i].instance);
    }
}

int fks_target_open(struct fks_target *out, const char *target, bool previous,
                    struct fks_error *error)
{
    struct fks_target *all;
    size_t count;
    *out = (struct fks_target){0};
    int rc = fks_target_open_all(&all, &count, target, previous, NULL, error);
    if (rc)
        return rc;
    if (count > 1) {
        char names[512];
        list_names(all, count, names, sizeof names);
        fks_target_close_all(all, count);
        return fks_fail(error, FORKSAFE_EUSAGE, "there are %zu instances, name one as TARGET: %s",
                        count, names);
    }
    *out = all[0];
    free(all);
    return 0;
}

void fks_target_close(struct fks_target *target)
{
    for (size_t i = 0; i < target->reader_count; i++)
        fks_reader_close(target->readers[i]);
    free(target->readers);
    *target = (struct fks_target){0};
}

void fks_target_close_all(struct fks_target *targets, size_t count)
{
    for (size_t i = 0; targets && i < count; i++)
        fks_target_close(&targets[i]);
    free(targets);
}
