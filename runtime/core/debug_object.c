/* SPDX-License-Identifier: MIT
 *
 * What each element of the debug object's lists is made of (debug_object.h). Everything that comes
 * from a journal is checked before it indexes a table of ours.
 */
#include "debug_object.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST_SCRIPT (16u << 20) /* beyond it nobody asks whether a script is stale */

static const char *const event_names[] = {
#define X(id, name, script, process, meaning) name,
    FORKSAFE_EVENTS(X)
#undef X
};
static const char *const role_names[] = {
#define X(id, name) name,
    FORKSAFE_ROLES(X)
#undef X
};
static const char *const outcome_names[] = {
#define X(id, name) name,
    FORKSAFE_OUTCOMES(X)
#undef X
};
static const char *const state_names[] = {
#define X(id, name) name,
    FORKSAFE_STATES(X)
#undef X
};
static const char *const on_error_names[] = {
    [FKS_ON_ERROR_LOG] = "log",
    [FKS_ON_ERROR_RETIRE_WORKER] = "retire_worker",
    [FKS_ON_ERROR_STOP_SERVER] = "stop_server",
};

#define COUNT(list)       (sizeof(list) / sizeof *(list))
#define TEXT(list, index) ((index) < COUNT(list) ? (list)[index] : "unknown")
#define NAME(list, index) json_string(TEXT(list, index))

static json_t *text_of(const struct fks_reader *reader, struct forksafe_string string)
{
    size_t length;
    const char *text = fks_reader_string(reader, string, &length);
    return fks_json_text_or_null(text, length);
}

static json_t *moment(const struct fks_debug_writing *writing, uint64_t boottime_ns)
{
    return fks_json_time(&writing->stream, boottime_ns, 3);
}

static json_t *positive_or_null(int64_t value)
{
    return value > 0 ? json_integer(value) : json_null();
}

/* --- hooks and masters --- */

json_t *fks_debug_hook_pair(const struct fks_hook_sum *sum)
{
    return json_pack("[o, o]", text_of(sum->reader, sum->hook.name),
                     NAME(event_names, sum->hook.event));
}

json_t *fks_debug_hook(const struct fks_debug_writing *writing, const struct fks_hook_sum *sum)
{
    return json_pack("{so, so, so, so}", "hook", text_of(sum->reader, sum->hook.name), "event",
                     NAME(event_names, sum->hook.event), "runs", fks_json_count(sum->hook.runs),
                     "first_run", moment(writing, sum->hook.first_run));
}

static json_t *forks_of(const struct forksafe_journal_header *header)
{
    json_t *forks = json_object();
    for (size_t i = 0; i < FORKSAFE_ROLE_COUNT; i++)
        json_object_set_new(forks, role_names[i], fks_json_count(header->forks[i]));
    return forks;
}

json_t *fks_debug_master(const struct fks_debug_writing *writing, size_t index)
{
    const struct fks_reader *reader = writing->gathered.readers[index];
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    const struct fks_losses *losses = &writing->gathered.losses[index];
    const char *path = fks_reader_path(reader);
    json_t *exits = json_pack("{so, so, so}", "clean", fks_json_count(header->exits_clean),
                              "failed", fks_json_count(header->exits_failed), "signal",
                              fks_json_count(header->exits_signal));
    json_t *object = json_pack(
        "{si, so, sb, sI, so, so}", "pid", header->master_pid, "journal",
        path ? fks_json_text(path, strlen(path)) : json_null(), "alive",
        fks_reader_master_alive(reader), "generation", (json_int_t)header->generation, "created",
        moment(writing, header->created), "opened", moment(writing, header->opened));
    json_t *rest = json_pack(
        "{so, so, so, so, so, so, so, so, so, so, so, so, so}", "container",
        text_of(reader, header->container), "server_version",
        text_of(reader, header->server_version), "forksafe_version",
        text_of(reader, header->forksafe_version), "ini", text_of(reader, header->ini), "app",
        text_of(reader, header->app), "forks", forks_of(header), "exits", exits,
        "records_overwritten", fks_json_count(losses->overwritten), "records_torn",
        fks_json_count(losses->torn), "slots_refused", fks_json_count(header->slots_refused),
        "subscribers_refused", fks_json_count(header->subscribers_refused), "retired",
        fks_json_count(header->retired), "last_fork", moment(writing, header->last_fork));
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

json_t *fks_debug_leader(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                         const struct forksafe_leader *leader)
{
    bool leads = fks_reader_process_alive(reader, leader->pid, leader->since);
    return json_pack(
        "{si, so, so, so, so, sI}", "master", fks_reader_header(reader)->master_pid, "name",
        text_of(reader, leader->name), "pid", leads ? json_integer(leader->pid) : json_null(),
        "worker", positive_or_null(leads ? leader->worker : 0), "since",
        moment(writing, leads ? leader->since : 0), "taken", (json_int_t)leader->taken);
}

/* --- processes --- */

const char *fks_debug_state(const struct fks_reader_slot *slot)
{
    uint8_t state = slot->slot.state;
    if (state == FORKSAFE_STATE_EXITED || state == FORKSAFE_STATE_GONE)
        return state_names[state];
    if (!slot->alive)
        return "dead";
    return state == FORKSAFE_STATE_FREE || state >= FORKSAFE_STATE_COUNT
               ? state_names[FORKSAFE_STATE_STARTING]
               : state_names[state];
}

static json_int_t own_records(const struct fks_reader_slot *slot)
{
    json_int_t count = 0;
    for (uint32_t i = 0; i < slot->record_count; i++)
        count += fks_reader_record_is_owners(slot, &slot->records[i]);
    return count;
}

json_t *fks_debug_process(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                          const struct fks_reader_slot *read)
{
    const struct forksafe_slot *slot = &read->slot;
    const char *error = read->error;
    json_t *object = json_pack(
        "{si, si, so, so, so, sI, ss, sb, sb, sb}", "master", fks_reader_header(reader)->master_pid,
        "pid", (int)read->pid, "ppid", positive_or_null(slot->ppid), "role",
        NAME(role_names, slot->role), "worker", positive_or_null(slot->worker), "generation",
        (json_int_t)slot->generation, "state", fks_debug_state(read), "alive", read->alive,
        "forked", !!(slot->flags & FORKSAFE_FLAG_FORKED), "app_loaded",
        !!(slot->flags & FORKSAFE_FLAG_APP_LOADED));
    json_t *rest = json_pack(
        "{so, so, so, so, sI, sI, so, sI, so}", "since", moment(writing, slot->state_since),
        "ended", moment(writing, slot->ended), "exit_status",
        slot->ended && slot->exit_status >= 0 ? json_integer(slot->exit_status) : json_null(),
        "exit_signal", positive_or_null(slot->exit_signal), "runs", (json_int_t)slot->runs,
        "failed", (json_int_t)slot->failed, "slowest", fks_json_seconds(slot->slowest_ns),
        "records", own_records(read), "error",
        error ? fks_json_text(error, strlen(error)) : json_null());
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

json_t *fks_debug_process_key(const struct fks_reader_slot *read)
{
    char key[64];
    snprintf(key, sizeof key, "%d-%llx", (int)read->pid, (unsigned long long)read->slot.claimed);
    return json_string(key);
}

/* --- subscribers --- */

/* FNV-1a of a plain file's text, as the scripts were hashed when they were loaded. */
static bool hash_file(const char *path, uint64_t *hash)
{
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size > LARGEST_SCRIPT)
        return false;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return false;
    unsigned char chunk[16384];
    ssize_t got, total = 0;
    *hash = 0xcbf29ce484222325u;
    while ((got = read(fd, chunk, sizeof chunk)) > 0 && (total += got) <= LARGEST_SCRIPT)
        for (ssize_t i = 0; i < got; i++)
            *hash = (*hash ^ chunk[i]) * 0x100000001b3u;
    close(fd);
    return got == 0;
}

int fks_debug_stale(const struct fks_reader *reader, const struct forksafe_subscriber *subscriber)
{
    char path[4096];
    size_t length;
    const char *text = fks_reader_string(reader, subscriber->path, &length);
    uint64_t hash;
    if (fks_reader_is_mapped(reader) || !length || length >= sizeof path || *text != '/')
        return -1;
    memcpy(path, text, length);
    path[length] = '\0';
    errno = 0;
    if (!hash_file(path, &hash))
        return errno == EACCES ? -1 : 1;
    return hash != subscriber->hash;
}

static json_t *stale(const struct fks_reader *reader, const struct forksafe_subscriber *subscriber)
{
    int is_stale = fks_debug_stale(reader, subscriber);
    return is_stale < 0 ? json_null() : json_boolean(is_stale);
}

static json_t *outcomes_of(const struct forksafe_cell *cell)
{
    json_t *outcomes = json_object();
    for (size_t i = FORKSAFE_OUTCOME_OK; i < FORKSAFE_OUTCOME_COUNT; i++)
        json_object_set_new(outcomes, outcome_names[i], fks_json_count(cell->outcomes[i]));
    return outcomes;
}

static uint64_t unfinished_of(const struct forksafe_cell *cell)
{
    uint64_t ended = 0;
    for (size_t i = FORKSAFE_OUTCOME_OK; i < FORKSAFE_OUTCOME_COUNT; i++)
        ended += cell->outcomes[i];
    return cell->begun > ended ? cell->begun - ended : 0;
}

/* [upper bound in seconds or null, runs in this bucket]. */
static json_t *buckets_of(const struct forksafe_cell *cell)
{
    static const uint64_t bounds[] = FORKSAFE_BUCKET_BOUNDS;
    json_t *buckets = json_array();
    for (size_t i = 0; i < FORKSAFE_BUCKETS; i++) { /* json_pack would read its format each time */
        json_t *bucket = json_array();
        json_array_append_new(bucket,
                              i < COUNT(bounds) ? fks_json_seconds(bounds[i]) : json_null());
        json_array_append_new(bucket, fks_json_count(cell->buckets[i]));
        json_array_append_new(buckets, bucket);
    }
    return buckets;
}

static json_t *hook_name(const struct fks_reader *reader, uint32_t index)
{
    const struct forksafe_hook *hook = fks_reader_hook(reader, index);
    return hook ? text_of(reader, hook->name) : json_null();
}

json_t *fks_debug_subscriber(const struct fks_debug_writing *writing,
                             const struct fks_subscriber_sum *sum)
{
    const struct fks_reader *reader = writing->gathered.readers[sum->reader];
    const struct forksafe_subscriber *entry = fks_reader_subscriber(reader, sum->index);
    const struct forksafe_cell *cell = &sum->cell;
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)entry->hash);
    json_t *object = json_pack(
        "{so, so, so, so, so, si, so, ss, so, sI, sb, so}", "name", text_of(reader, entry->name),
        "event", NAME(event_names, entry->event), "hook", hook_name(reader, entry->hook), "path",
        text_of(reader, entry->path), "line", positive_or_null(entry->line), "order", entry->order,
        "on_error", NAME(on_error_names, entry->on_error), "hash", hash, "loaded_at",
        moment(writing, entry->loaded), "generation", (json_int_t)entry->generation, "active",
        entry->generation == fks_reader_header(reader)->generation, "stale", stale(reader, entry));
    json_t *rest =
        json_pack("{so, so, so, so, so, so}", "begun", fks_json_count(cell->begun), "outcomes",
                  outcomes_of(cell), "unfinished", fks_json_count(unfinished_of(cell)), "total",
                  fks_json_seconds(cell->total_ns), "max", fks_json_seconds(cell->max_ns),
                  "buckets", buckets_of(cell));
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

/* --- records --- */

/* The text of this thing, if it is the one that was kept; NULL: it has to be made. */
static json_t *recall(const struct fks_debug_word *word, const void *of)
{
    return word && word->text && word->of == of ? json_incref(word->text) : NULL;
}

static json_t *keep(struct fks_debug_word *word, const void *of, json_t *text)
{
    if (!word)
        return text;
    json_decref(word->text);
    *word = (struct fks_debug_word){of, text};
    return json_incref(text);
}

static json_t *constant(struct fks_debug_word *word, const char *text)
{
    json_t *kept = recall(word, text);
    return kept ? kept : keep(word, text, json_string(text));
}

/* `name` stands in a table of the reader; NULL: nothing there. */
static json_t *name_of(struct fks_debug_word *word, const struct fks_reader *reader,
                       const struct forksafe_string *name)
{
    if (!name)
        return json_null();
    json_t *kept = recall(word, name);
    return kept ? kept : keep(word, name, text_of(reader, *name));
}

void fks_debug_words_finish(struct fks_debug_words *words)
{
    json_decref(words->role.text);
    json_decref(words->hook.text);
    json_decref(words->event.text);
    json_decref(words->subscriber.text);
    json_decref(words->outcome.text);
    json_decref(words->record);
}

static json_t *child_of(const struct forksafe_record *record)
{
    if (record->event != FORKSAFE_CHILD_EXIT || record->child_pid <= 0)
        return json_null();
    return json_pack("{si, so, so}", "pid", record->child_pid, "exit",
                     record->child_exit >= 0 ? json_integer(record->child_exit) : json_null(),
                     "signal", positive_or_null(record->child_signal));
}

const char *fks_debug_outcome(const struct forksafe_record *record, bool live)
{
    if (!record->ended)
        return live ? outcome_names[FORKSAFE_OUTCOME_RUNNING] : "unfinished";
    return outcome_names[record->ended & 0xff];
}

#define WORD(words, kind) ((words) ? &(words)->kind : NULL)

/* `last`: the value that the object has as this member already, if any. What is equal to it stays,
 * so that who writes the object knows it again. */
static bool set_member(json_t *object, json_t **last, const char *name, json_t *value)
{
    if (!last)
        return !json_object_set_new_nocheck(object, name, value);
    if (*last && json_equal(*last, value)) {
        json_decref(value);
        return true;
    }
    bool is_set = !json_object_set_new_nocheck(object, name, value);
    *last = is_set ? value : NULL;
    return is_set;
}

json_t *fks_debug_record(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                         const struct forksafe_record *record, bool live)
{
    struct fks_debug_words *words = writing->words;
    const struct forksafe_hook *hook = fks_reader_hook(reader, record->hook);
    const struct forksafe_subscriber *entry = fks_reader_subscriber(reader, record->subscriber);
    const struct {
        const char *name;
        json_t *value;
    } members[] = {
        {"at", fks_json_time(&writing->stream, record->begun, 6)},
        {"pid", json_integer(record->pid)},
        {"worker", positive_or_null(record->worker)},
        {"role", constant(WORD(words, role), TEXT(role_names, record->role))},
        {"generation", json_integer(record->generation)},
        {"hook", name_of(WORD(words, hook), reader, hook ? &hook->name : NULL)},
        {"event", constant(WORD(words, event), TEXT(event_names, record->event))},
        {"subscriber", name_of(WORD(words, subscriber), reader, entry ? &entry->name : NULL)},
        {"outcome", constant(WORD(words, outcome), fks_debug_outcome(record, live))},
        {"duration", record->ended ? fks_json_seconds(record->ended >> 8) : json_null()},
        {"forked", json_boolean(record->flags & FORKSAFE_FLAG_FORKED)},
        {"app_loaded", json_boolean(record->flags & FORKSAFE_FLAG_APP_LOADED)},
        {"child", child_of(record)},
    };
    json_t *object = words && words->record ? json_incref(words->record) : json_object();
    bool whole = object != NULL;
    for (size_t i = 0; i < COUNT(members); i++)
        whole &=
            set_member(object, words ? &words->values[i] : NULL, members[i].name, members[i].value);
    if (!whole) {
        json_decref(object);
        return NULL;
    }
    if (words && !words->record)
        words->record = json_incref(object);
    return object;
}

/* Journals of one pid happen: in a container every master has the same. When it was made tells. */
json_t *fks_debug_record_key(const struct fks_reader *reader, uint32_t slot, uint64_t number)
{
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    char key[96];
    snprintf(key, sizeof key, "%d-%llx-%u-%llu", header->master_pid,
             (unsigned long long)header->created, slot, (unsigned long long)number);
    return json_string(key);
}
