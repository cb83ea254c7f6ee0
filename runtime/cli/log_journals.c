/* SPDX-License-Identifier: MIT
 *
 * Which journals there are to read (log_journals.h): as `tail -F` goes on with the file that takes
 * another's place, the next master of an instance is followed when the last one has ended.
 */
#include "log_journals.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/journal.h"

#define SEARCH_NS    500000000u /* between two searches for new masters */
#define SEARCH_SHARE 20         /* of the time is spent searching at most: one in so many */

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "forksafe log: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static void note(const char *line)
{
    say("left out: %s", line);
}

/* --- the list --- */

static bool is_same(const struct forksafe_journal_header *one,
                    const struct forksafe_journal_header *other)
{
    return one->master_pid == other->master_pid && one->created == other->created &&
           one->master_start_ticks == other->master_start_ticks &&
           !memcmp(one->boot_id, other->boot_id, sizeof one->boot_id);
}

static bool is_known(const struct fks_log_journals *journals, const struct fks_reader *reader)
{
    for (size_t i = 0; i < journals->count; i++)
        if (is_same(&journals->items[i].header, fks_reader_header(reader)))
            return true;
    return false;
}

/* Takes ownership of the reader. */
static int add(struct fks_log_journals *journals, struct fks_reader *reader, const char *instance,
               struct fks_error *error)
{
    struct fks_log_journal *more =
        realloc(journals->items, (journals->count + 1) * sizeof *journals->items);
    if (more)
        journals->items = more;
    struct fks_log_journal journal = {.header = *fks_reader_header(reader)};
    snprintf(journal.instance, sizeof journal.instance, "%s", instance);
    if (more)
        journal.source = fks_log_source_create(reader, instance);
    else
        fks_reader_close(reader);
    if (!journal.source)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory for the records");
    if (journals->count && strcmp(journals->items[0].instance, instance))
        journals->instances = true;
    journals->items[journals->count++] = journal;
    return 0;
}

/* Adds the journals of `found` that are not known, and closes the rest. `tell`: of each one. */
static int add_new(struct fks_log_journals *journals, struct fks_target *found, size_t count,
                   bool tell, struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; !rc && j < found[i].reader_count; j++) {
            struct fks_reader *reader = found[i].readers[j];
            if (is_known(journals, reader))
                continue;
            found[i].readers[j] = NULL;
            rc = add(journals, reader, found[i].instance, error);
            if (!rc && tell)
                say("%s: following master %d", found[i].instance,
                    (int)journals->items[journals->count - 1].header.master_pid);
        }
    fks_target_close_all(found, count);
    return rc;
}

/* --- opening --- */

/* A process lives shorter than its server: from now on the instance is looked up. */
static void remember_instance(struct fks_log_journals *journals, const struct fks_target *found,
                              size_t count)
{
    const char *target = journals->target;
    bool is_pid = target && *target && strspn(target, "0123456789") == strlen(target);
    char *name = is_pid && count == 1 ? strdup(found[0].instance) : NULL;
    if (!name)
        return;
    free(journals->target);
    journals->target = name;
}

static bool is_file(const char *target)
{
    char *path = strndup(target, strcspn(target, "#"));
    struct stat st;
    bool is_it = path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return is_it;
}

/* Whether a server that this TARGET means may be started later: one that ran before, or an ini's.
 */
static bool can_wait(struct fks_log_journals *journals)
{
    struct fks_target *found;
    size_t count;
    if (!journals->target || is_file(journals->target))
        return true;
    if (fks_target_open_all(&found, &count, journals->target, true, NULL, NULL))
        return false;
    remember_instance(journals, found, count);
    fks_target_close_all(found, count);
    return true;
}

int fks_log_journals_open(struct fks_log_journals *journals, const char *target, bool previous,
                          bool follow, struct fks_error *error)
{
    struct fks_target *found;
    size_t count;
    if (target && !(journals->target = strdup(target)))
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory");
    int rc = fks_target_open_all(&found, &count, target, previous, note, error);
    if (rc == FORKSAFE_ENOENT && follow && can_wait(journals)) {
        say("waiting for a master: %s", error->text);
        return 0;
    }
    if (rc)
        return rc;
    remember_instance(journals, found, count);
    return add_new(journals, found, count, false, error);
}

/* --- looking --- */

int fks_log_journals_look(struct fks_log_journals *journals, struct fks_log_batch *batch,
                          struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < journals->count; i++)
        if (journals->items[i].source)
            rc = fks_log_source_look(journals->items[i].source, batch, error);
    if (!rc && batch->failed)
        rc = fks_fail(error, FORKSAFE_ENOMEM, "no memory for the records; fewer come with -n");
    fks_log_batch_finish_look(batch);
    return rc;
}

/* What cannot be read; the same thing once. */
static void complain(struct fks_log_journals *journals, const struct fks_error *error)
{
    if (error->code == FORKSAFE_ENOENT || !strcmp(journals->complaint.text, error->text))
        return;
    journals->complaint = *error;
    say("%s", error->text);
}

static void search(struct fks_log_journals *journals)
{
    struct fks_target *found;
    size_t count;
    struct fks_error error;
    uint64_t begun = fks_now();
    int rc = fks_target_open_all(&found, &count, journals->target, false, NULL, &error);
    if (!rc)
        rc = add_new(journals, found, count, true, &error);
    if (rc)
        complain(journals, &error);
    uint64_t now = fks_now(), pause = (now - begun) * SEARCH_SHARE;
    journals->next_search = now + (pause > SEARCH_NS ? pause : SEARCH_NS);
}

/* Those of the last look. */
static void let_go(struct fks_log_journals *journals)
{
    for (size_t i = 0; i < journals->count; i++)
        if (journals->items[i].over) {
            fks_log_source_destroy(journals->items[i].source);
            journals->items[i].source = NULL;
            journals->items[i].over = false;
        }
}

/* Whether anybody may still write it is asked before the last look. */
static void look_at(struct fks_log_journals *journals, struct fks_log_journal *journal,
                    struct fks_log_batch *batch, bool is_due)
{
    struct fks_error error;
    journal->over = is_due && !fks_log_source_is_alive(journal->source);
    if (fks_log_source_look(journal->source, batch, &error)) {
        journal->over = true;
        complain(journals, &error);
    } else if (journal->over) {
        say("%s: master %d has ended", journal->instance, (int)journal->header.master_pid);
    }
}

void fks_log_journals_follow(struct fks_log_journals *journals, struct fks_log_batch *batch)
{
    bool is_due = fks_now() >= journals->next_search;
    size_t ended = 0, left = 0;
    let_go(journals);
    if (is_due)
        search(journals);
    for (size_t i = 0; i < journals->count; i++) {
        struct fks_log_journal *journal = &journals->items[i];
        if (!journal->source)
            continue;
        look_at(journals, journal, batch, is_due);
        ended += journal->over;
        left += !journal->over;
    }
    if (ended && !left)
        say("waiting for the next master");
    fks_log_batch_finish_look(batch);
}

void fks_log_journals_finish(struct fks_log_journals *journals)
{
    for (size_t i = 0; i < journals->count; i++)
        fks_log_source_destroy(journals->items[i].source);
    free(journals->items);
    free(journals->target);
}
