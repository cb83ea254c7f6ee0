/* SPDX-License-Identifier: MIT
 *
 * The debug object: which members it has and in which order. debug_gather.c reads the journals once
 * before, debug_object.c makes the elements, debug_json.c writes. Runs in the commands, and in a
 * host that is asked for its own; there it opens nothing.
 */
#include "debug.h"

#include "debug_object.h"
#include "finding.h"
#include "journal.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA "forksafe.debug/1"

/* The journal whose word counts where masters cannot be merged: the newest. */
static struct fks_reader *newest(const struct fks_debug_writing *writing)
{
    size_t count = writing->gathered.reader_count;
    return count ? writing->gathered.readers[count - 1] : NULL;
}

static void write_log(struct fks_debug_writing *writing)
{
    const struct forksafe_status_area *area =
        newest(writing) ? fks_reader_status(newest(writing)) : NULL;
    fks_json_list(&writing->stream, "autoconfigure.log");
    if (!area)
        fks_json_item(&writing->stream, json_string("uWSGI not available"));
    for (uint32_t i = 0; area && i < area->line_count && i < FORKSAFE_LOG_LINES; i++)
        fks_json_item(&writing->stream, fks_json_text(area->lines[i], strlen(area->lines[i])));
    fks_json_list_end(&writing->stream);
}

static void write_status(struct fks_debug_writing *writing, const char *instance)
{
    struct fks_reader *reader = newest(writing);
    const struct forksafe_status_area *area = reader ? fks_reader_status(reader) : NULL;
    const char *status = area && *area->status ? area->status : "attempting auto-configure";
    const char *environment = area ? area->environment : "";
    size_t length = instance ? strlen(instance) : 0;
    if (!instance && reader)
        instance = fks_reader_string(reader, fks_reader_header(reader)->instance, &length);
    fks_json_member(&writing->stream, "schema", json_string(SCHEMA));
    fks_json_member(&writing->stream, "generated_at",
                    fks_json_time(&writing->stream, fks_now(), 3));
    fks_json_member(&writing->stream, "instance", fks_json_text_or_null(instance, length));
    fks_json_member(&writing->stream, "status", fks_json_text(status, strlen(status)));
    fks_json_member(&writing->stream, "environment",
                    fks_json_text_or_null(environment, strlen(environment)));
    write_log(writing);
}

static int by_first_run(const void *a, const void *b)
{
    const struct fks_hook_sum *one = *(const struct fks_hook_sum *const *)a;
    const struct fks_hook_sum *other = *(const struct fks_hook_sum *const *)b;
    if (one->hook.first_run != other->hook.first_run)
        return one->hook.first_run < other->hook.first_run ? -1 : 1;
    return (one > other) - (one < other);
}

/* The distinct pairs that ran, in order of their first time. */
static void write_executed_hooks(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    const struct fks_hook_sum **ran = calloc(gathered->hook_count + 1, sizeof *ran);
    size_t count = 0;
    for (size_t i = 0; ran && i < gathered->hook_count; i++)
        if (gathered->hooks[i].hook.runs)
            ran[count++] = &gathered->hooks[i];
    if (ran)
        qsort(ran, count, sizeof *ran, by_first_run);
    else
        writing->stream.failed = true;
    fks_json_list(&writing->stream, "executed_hooks");
    for (size_t i = 0; i < count; i++)
        fks_json_item(&writing->stream, fks_debug_hook_pair(ran[i]));
    fks_json_list_end(&writing->stream);
    free(ran);
}

static void write_hooks(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    fks_json_list(&writing->stream, "hooks");
    for (size_t i = 0; i < gathered->hook_count; i++)
        fks_json_item(&writing->stream, fks_debug_hook(writing, &gathered->hooks[i]));
    fks_json_list_end(&writing->stream);
}

static void write_masters(struct fks_debug_writing *writing)
{
    fks_json_list(&writing->stream, "masters");
    for (size_t i = 0; i < writing->gathered.reader_count; i++)
        fks_json_item(&writing->stream, fks_debug_master(writing, i));
    fks_json_list_end(&writing->stream);
}

static void write_processes(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    fks_json_list(&writing->stream, "processes");
    for (size_t i = 0; i < gathered->process_count && !writing->stream.failed; i++) {
        const struct fks_process_ref *ref = &gathered->processes[i];
        struct fks_reader *reader = gathered->readers[ref->reader];
        struct fks_reader_slot slot;
        if (fks_reader_slot_read(reader, ref->slot, &slot, NULL) <= 0)
            continue;
        json_t *object = fks_debug_process(writing, reader, &slot);
        if (gathered->view->keys)
            json_object_set_new(object, "key", fks_debug_process_key(&slot));
        fks_json_item(&writing->stream, object);
    }
    fks_json_list_end(&writing->stream);
}

static void write_subscribers(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    fks_json_list(&writing->stream, "subscribers");
    for (size_t i = 0; i < gathered->subscriber_count && !writing->stream.failed; i++)
        fks_json_item(&writing->stream, fks_debug_subscriber(writing, &gathered->subscribers[i]));
    fks_json_list_end(&writing->stream);
}

/* Those that subscribers of today name, and those that somebody still has. */
static void write_leaders(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    fks_json_list(&writing->stream, "leaders");
    for (size_t i = 0; i < gathered->reader_count; i++) {
        const struct fks_reader *reader = gathered->readers[i];
        for (uint32_t id = 0; id < FORKSAFE_MAX_LEADERS; id++) {
            const struct forksafe_leader *leader = fks_reader_leader(reader, id);
            if (leader && (leader->generation == fks_reader_header(reader)->generation ||
                           fks_reader_process_alive(reader, leader->pid, leader->since)))
                fks_json_item(&writing->stream, fks_debug_leader(writing, reader, leader));
        }
    }
    fks_json_list_end(&writing->stream);
}

/* How many records from `refs` on follow each other in one ring: what a process ran without a pause
 * is read at once. */
static uint32_t run_length(const struct fks_record_ref *refs, size_t left)
{
    uint32_t length = 1;
    while (length < left && length < FKS_READER_RUN && refs[length].reader == refs->reader &&
           refs[length].slot == refs->slot && refs[length].number == refs->number + length)
        length++;
    return length;
}

static void write_record(struct fks_debug_writing *writing, struct fks_json_alike *alike,
                         const struct fks_record_ref *ref, const struct forksafe_record *record)
{
    struct fks_reader *reader = writing->gathered.readers[ref->reader];
    json_t *object = fks_debug_record(writing, reader, record, ref->live);
    if (writing->gathered.view->keys)
        json_object_set_new(object, "key", fks_debug_record_key(reader, ref->slot, ref->number));
    fks_json_item_alike(&writing->stream, alike, object);
}

static void write_records(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    struct forksafe_record records[FKS_READER_RUN];
    struct fks_json_alike alike = {0};
    fks_json_list(&writing->stream, "records");
    for (size_t at = 0; at < gathered->record_count && !writing->stream.failed;) {
        const struct fks_record_ref *refs = &gathered->records[at];
        uint32_t length = run_length(refs, gathered->record_count - at);
        uint32_t read = fks_reader_records(gathered->readers[refs->reader], refs->slot,
                                           refs->number, length, records);
        for (uint32_t i = 0; i < read; i++)
            if (records[i].sequence)
                write_record(writing, &alike, &refs[i], &records[i]);
        at += read ? read : length;
    }
    fks_json_alike_finish(&alike);
    fks_json_list_end(&writing->stream);
}

/* What the last generation of each master was found to have. */
static void write_findings(struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    fks_json_list(&writing->stream, "findings");
    for (size_t i = 0; i < gathered->reader_count; i++) {
        const struct fks_reader *reader = gathered->readers[i];
        const struct forksafe_finding_area *area = fks_reader_findings(reader);
        for (uint32_t n = 0; n < area->count && !writing->stream.failed; n++)
            if (fks_finding_is_told(&area->findings[n]))
                fks_json_item(&writing->stream,
                              fks_debug_finding(writing, reader, &area->findings[n]));
    }
    fks_json_list_end(&writing->stream);
}

/* --- the whole --- */

/* False where every journal is one of a server that only says in it why forksafe is switched off.
 */
static bool is_enabled(const struct fks_debug_writing *writing)
{
    const struct fks_gathered *gathered = &writing->gathered;
    for (size_t i = 0; i < gathered->reader_count; i++)
        if (fks_reader_header(gathered->readers[i])->generation)
            return true;
    return !gathered->reader_count;
}

const struct fks_debug_view fks_debug_whole = {
    .processes = true,
    .subscribers = true,
    .records = true,
    .records_to = UINT64_MAX,
    .newest_records = SIZE_MAX,
};

int fks_debug_write_view(struct fks_reader *const *readers, size_t count, const char *instance,
                         const struct fks_debug_view *view, int indent, fks_debug_sink sink,
                         void *data, struct fks_error *error)
{
    struct fks_debug_words words = {0};
    struct fks_debug_writing writing = {.words = &words};
    if (count > UINT16_MAX)
        return fks_fail(error, FORKSAFE_EUSAGE, "too many journals for one debug object");
    int rc = fks_gathered_init_view(&writing.gathered, view, readers, count, error);
    if (!rc) {
        fks_json_begin(&writing.stream, sink, data, indent);
        write_status(&writing, instance);
        write_executed_hooks(&writing);
        fks_json_member(&writing.stream, "enabled", json_boolean(is_enabled(&writing)));
        write_masters(&writing);
        if (view->processes)
            write_processes(&writing);
        write_hooks(&writing);
        if (view->subscribers)
            write_subscribers(&writing);
        write_leaders(&writing);
        if (view->records)
            write_records(&writing);
        write_findings(&writing);
        if (fks_json_finish(&writing.stream))
            rc = fks_fail(error, FORKSAFE_ENOMEM, "the debug object could not be written");
    }
    fks_gathered_finish(&writing.gathered);
    fks_debug_words_finish(&words);
    return rc;
}

int fks_debug_write(struct fks_reader *const *readers, size_t count, const char *instance,
                    int indent, fks_debug_sink sink, void *data, struct fks_error *error)
{
    return fks_debug_write_view(readers, count, instance, &fks_debug_whole, indent, sink, data,
                                error);
}

/* --- as one string --- */

struct growing {
    char *text;
    size_t length, room;
};

static int append(const char *text, size_t length, void *data)
{
    struct growing *all = data;
    if (all->length + length + 1 > all->room) {
        size_t room = (all->length + length + 1) * 2;
        char *more = realloc(all->text, room);
        if (!more)
            return -1;
        all->text = more;
        all->room = room;
    }
    memcpy(all->text + all->length, text, length);
    all->length += length;
    all->text[all->length] = '\0';
    return 0;
}

char *fks_debug_text(struct fks_reader *const *readers, size_t count, const char *instance,
                     int indent, struct fks_error *error)
{
    struct growing all = {0};
    if (fks_debug_write(readers, count, instance, indent, append, &all, error)) {
        free(all.text);
        return NULL;
    }
    return all.text;
}
