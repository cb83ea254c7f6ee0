/* SPDX-License-Identifier: MIT
 *
 * The tables of a journal that the master fills at each open: generation, hooks, subscribers,
 * strings, status. May wait for another process that does the same, so never in a fresh child.
 */
#include "journal_private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TURN_TRIES 200 /* of 1 ms */

void fks_journal_tables_enter(struct fks_journal *journal)
{
    uint32_t *writer = &journal->header->table_writer;
    uint32_t self = (uint32_t)getpid();
    for (int i = 0; i < TURN_TRIES; i++) {
        uint32_t holder = 0;
        if (FKS_CAS(*writer, holder, self) || holder == self)
            return;
        if (kill((pid_t)holder, 0) && errno == ESRCH && FKS_CAS(*writer, holder, self))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    FKS_STORE(*writer, self);
}

void fks_journal_tables_leave(struct fks_journal *journal)
{
    uint32_t self = (uint32_t)getpid();
    (void)FKS_CAS(journal->header->table_writer, self, 0);
}

uint32_t fks_journal_next_generation(struct fks_journal *journal)
{
    __atomic_store_n(&journal->header->opened, fks_now(), __ATOMIC_RELAXED);
    journal->generation = __atomic_add_fetch(&journal->header->generation, 1, __ATOMIC_ACQ_REL);
    if (journal->slot && journal->pid == getpid())
        journal->slot->generation = journal->generation;
    return journal->generation;
}

/* --- strings --- */

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

static uint32_t hook_count(const struct fks_journal *journal)
{
    return at_most(journal->header->hook_count, journal->hook_capacity);
}

static uint32_t subscriber_count(const struct fks_journal *journal)
{
    return at_most(journal->header->subscriber_count, journal->subscriber_capacity);
}

bool fks_journal_string_is(const struct fks_journal *journal, struct forksafe_string string,
                           const char *text, size_t length)
{
    return string.length == length && string.offset <= journal->strings_size &&
           length <= journal->strings_size - string.offset &&
           !memcmp(journal->strings + string.offset, text, length);
}

/* The same text among the subscribers' strings: paths repeat, and a reload brings them all again.
 */
static bool find_string(const struct fks_journal *journal, const char *text, size_t length,
                        struct forksafe_string *found)
{
    for (uint32_t i = 0; i < subscriber_count(journal); i++) {
        const struct forksafe_subscriber *entry = &journal->subscribers[i];
        if (fks_journal_string_is(journal, entry->path, text, length)) {
            *found = entry->path;
            return true;
        }
        if (fks_journal_string_is(journal, entry->name, text, length)) {
            *found = entry->name;
            return true;
        }
    }
    return false;
}

struct forksafe_string fks_journal_intern(struct fks_journal *journal, const char *text)
{
    struct forksafe_journal_header *header = journal->header;
    struct forksafe_string string = {0, 0};
    size_t length = text ? strlen(text) : 0;
    if (!length || find_string(journal, text, length, &string))
        return string;
    uint32_t used = at_most(header->strings_used, journal->strings_size);
    if (length > journal->strings_size - used)
        return string;
    string.offset = used;
    string.length = (uint32_t)length;
    memcpy(journal->strings + string.offset, text, length);
    FKS_STORE(header->strings_used, string.offset + string.length);
    return string;
}

/* --- hooks and subscribers --- */

static uint32_t find_hook(const struct fks_journal *journal, const char *name,
                          enum forksafe_event event)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < hook_count(journal); i++)
        if (journal->hooks[i].event == (uint32_t)event &&
            fks_journal_string_is(journal, journal->hooks[i].name, name, length))
            return i;
    return FORKSAFE_NO_SUBSCRIBER;
}

static uint32_t new_hook(struct fks_journal *journal, const char *name, enum forksafe_event event)
{
    uint32_t index = hook_count(journal);
    struct forksafe_string string = fks_journal_intern(journal, name);
    if (index >= journal->hook_capacity || !string.length)
        return FORKSAFE_NO_SUBSCRIBER;
    journal->hooks[index] = (struct forksafe_hook){.name = string, .event = (uint32_t)event};
    FKS_STORE(journal->header->hook_count, index + 1);
    return index;
}

uint32_t fks_journal_add_hook(struct fks_journal *journal, const char *name,
                              enum forksafe_event event)
{
    fks_journal_tables_enter(journal);
    uint32_t index = find_hook(journal, name, event);
    if (index == FORKSAFE_NO_SUBSCRIBER)
        index = new_hook(journal, name, event);
    fks_journal_tables_leave(journal);
    return index;
}

static uint32_t find_subscriber(const struct fks_journal *journal, const char *name,
                                enum forksafe_event event)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < subscriber_count(journal); i++)
        if (journal->subscribers[i].event == (uint32_t)event &&
            fks_journal_string_is(journal, journal->subscribers[i].name, name, length))
            return i;
    return subscriber_count(journal);
}

static uint32_t write_subscriber(struct fks_journal *journal,
                                 const struct fks_journal_subscriber *subscriber)
{
    uint32_t index = find_subscriber(journal, subscriber->name, subscriber->event);
    struct forksafe_string name = fks_journal_intern(journal, subscriber->name);
    struct forksafe_string path = fks_journal_intern(journal, subscriber->path);
    bool is_new = index == subscriber_count(journal);
    if (index >= journal->subscriber_capacity || !name.length ||
        (subscriber->path && *subscriber->path && !path.length)) {
        FKS_ADD(journal->header->subscribers_refused, 1);
        return FORKSAFE_NO_SUBSCRIBER;
    }
    struct forksafe_subscriber *entry = &journal->subscribers[index];
    FKS_STORE(entry->generation, 0);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    entry->name = name;
    entry->path = path;
    entry->line = subscriber->line;
    entry->event = (uint32_t)subscriber->event;
    entry->hook = subscriber->hook;
    entry->order = subscriber->order;
    entry->on_error = (uint32_t)subscriber->on_error;
    entry->hash = subscriber->hash;
    entry->mtime_ns = subscriber->mtime_ns;
    entry->loaded = fks_now();
    FKS_STORE(entry->generation, journal->generation);
    if (is_new)
        FKS_STORE(journal->header->subscriber_count, index + 1);
    return index;
}

uint32_t fks_journal_add_subscriber(struct fks_journal *journal,
                                    const struct fks_journal_subscriber *subscriber)
{
    fks_journal_tables_enter(journal);
    uint32_t index = write_subscriber(journal, subscriber);
    fks_journal_tables_leave(journal);
    return index;
}

/* --- status --- */

void fks_journal_text(char place[FORKSAFE_STATUS_TEXT], const char *text)
{
    size_t length = strlen(text);
    bool cut = length >= FORKSAFE_STATUS_TEXT;
    if (cut)
        length = fks_whole_characters(text, FORKSAFE_STATUS_TEXT - 4);
    memset(place, 0, FORKSAFE_STATUS_TEXT);
    memcpy(place, text, length);
    if (cut)
        memcpy(place + length, "...", 3);
    fks_one_line(place);
}

static void append_line(struct forksafe_status_area *area, const char *text)
{
    char line[FORKSAFE_STATUS_TEXT];
    fks_journal_text(line, text);
    uint32_t kept = area->line_count < FORKSAFE_LOG_LINES ? area->line_count : FORKSAFE_LOG_LINES;
    for (uint32_t i = 0; i < kept; i++)
        if (!strcmp(area->lines[i], line))
            return;
    if (kept < FORKSAFE_LOG_LINES)
        memcpy(area->lines[kept], line, sizeof line);
    area->line_count++;
}

void fks_journal_status(struct fks_journal *journal, const char *status, const char *environment,
                        const char *line)
{
    struct forksafe_status_area *area = journal->status;
    fks_journal_tables_enter(journal);
    uint32_t sequence = area->sequence | 1; /* odd already if a writer died */
    FKS_STORE(area->sequence, sequence);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (status)
        fks_journal_text(area->status, status);
    if (environment)
        fks_journal_text(area->environment, environment);
    if (line)
        append_line(area, line);
    FKS_STORE(area->sequence, sequence + 1);
    fks_journal_tables_leave(journal);
}
