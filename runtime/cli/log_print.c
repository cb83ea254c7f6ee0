/* SPDX-License-Identifier: MIT
 *
 * Records as lines and as JSON (log_print.h). All names and texts are others': they are written so
 * that a terminal acts on none of them.
 */
#include "log_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/names.h"
#include "terminal.h"

#define WIDEST 32 /* a column that is filled up by longer names only on their own lines */

static void pad(size_t from, size_t to)
{
    for (; from < to; from++)
        putchar(' ');
}

/* --- the columns of a line --- */

static void put_time(const struct fks_log_printer *printer, uint64_t boottime)
{
    uint64_t ns = boottime + (uint64_t)printer->writing.stream.clock_difference;
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm = {0};
    localtime_r(&seconds, &tm);
    printf("%04d-%02d-%02d %02d:%02d:%02d.%06u", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
           tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(ns % 1000000000 / 1000));
}

/* "worker/3", "master". */
static void put_who(const struct forksafe_record *record)
{
    char text[32];
    snprintf(text, sizeof text,
             record->worker > 0 && record->role != FORKSAFE_ROLE_MASTER ? "%s/%d" : "%s",
             fks_role_names[record->role], (int)record->worker);
    printf("%-9s", text);
}

static const char *subscriber_of(const struct fks_log_entry *entry, size_t *length)
{
    const struct fks_reader *reader = fks_log_source_reader(entry->source);
    const struct forksafe_subscriber *subscriber =
        fks_reader_subscriber(reader, entry->record.subscriber);
    const char *name = subscriber ? fks_reader_string(reader, subscriber->name, length) : "";
    if (subscriber && *length)
        return name;
    *length = 1;
    return "-";
}

static void put_toned(const struct fks_log_printer *printer, const char *word)
{
    const char *tone = printer->color ? fks_tone_sequence(fks_tone_of(word)) : NULL;
    printf("%s%s%s", tone ? tone : "", word, tone ? FKS_TONE_END : "");
    pad(strlen(word), 10);
}

static void put_duration(const struct forksafe_record *record)
{
    char text[FKS_SHORT];
    printf("%8s", record->ended ? fks_duration_text(text, record->ended >> 8) : "-");
}

/* --- what follows the columns --- */

/* "worker/2": which one the master is about to fork; "child 4711 (worker/2) ended by SIGKILL". */
static void put_child(const struct forksafe_record *record)
{
    const char *name = sigabbrev_np(record->child_signal);
    char worker[32] = "";
    if (record->worker > 0 && record->role == FORKSAFE_ROLE_MASTER)
        snprintf(worker, sizeof worker, "worker/%d", (int)record->worker);
    if (record->event != FORKSAFE_CHILD_EXIT || record->child_pid <= 0) {
        printf("%s%s", *worker ? "  " : "", worker);
        return;
    }
    printf(*worker ? "  child %d (%s) " : "  child %d ", (int)record->child_pid, worker);
    if (record->child_signal && name)
        printf("ended by SIG%s", name);
    else if (record->child_signal)
        printf("ended by signal %u", record->child_signal);
    else
        printf("exited %d", record->child_exit);
}

static const char *next_line(const char *text, size_t *length)
{
    *length = strcspn(text, "\n");
    return text[*length] ? text + *length + 1 : NULL;
}

/* The first line beside the record, or all of them below it. */
static void put_error(const struct fks_log_printer *printer, const char *error)
{
    const char *tone = printer->color ? fks_tone_sequence(FKS_TONE_BAD) : NULL;
    size_t length;
    const char *rest = next_line(error, &length);
    printf("  %s", tone ? tone : "");
    fks_terminal_put(stdout, error, length);
    printf("%s", tone ? FKS_TONE_END : "");
    while (printer->errors && rest) {
        const char *line = rest;
        rest = next_line(line, &length);
        printf("\n    ");
        for (; length && *line == '\t'; line++, length--)
            printf("    ");
        fks_terminal_put(stdout, line, length);
    }
}

static void print_line(const struct fks_log_printer *printer, const struct fks_log_entry *entry)
{
    const struct forksafe_record *record = &entry->record;
    const char *instance = fks_log_source_instance(entry->source);
    size_t length;
    const char *subscriber = subscriber_of(entry, &length);
    if (printer->instances) {
        pad(fks_terminal_put(stdout, instance, strlen(instance)), printer->instance_width);
        printf("  ");
    }
    put_time(printer, record->begun);
    printf(" %7d ", (int)record->pid);
    put_who(record);
    printf(" %-25s ", fks_event_names[record->event]);
    pad(fks_terminal_put(stdout, subscriber, length), printer->subscriber_width);
    putchar(' ');
    put_toned(printer, fks_debug_outcome(record, entry->live));
    put_duration(record);
    put_child(record);
    if (entry->error)
        put_error(printer, entry->error);
    putchar('\n');
}

/* --- JSON --- */

static int print(const char *text, size_t length, void *data)
{
    return fwrite(text, 1, length, data) == length ? 0 : -1;
}

static void print_json(struct fks_log_printer *printer, const struct fks_log_entry *entry)
{
    const char *instance = fks_log_source_instance(entry->source);
    const char *text = entry->error;
    json_t *object = json_pack("{so}", "instance", fks_json_text(instance, strlen(instance)));
    json_t *record = fks_debug_record(&printer->writing, fks_log_source_reader(entry->source),
                                      &entry->record, entry->live);
    json_object_update(object, record);
    json_decref(record);
    if (printer->errors)
        json_object_set_new(object, "error",
                            text ? fks_json_text(text, strlen(text)) : json_null());
    fks_json_value(&printer->writing.stream, object);
    putchar('\n');
}

/* --- the batch --- */

static void widen(size_t *width, const char *text, size_t length)
{
    size_t own = fks_terminal_width(text, length);
    if (own > *width)
        *width = own < WIDEST ? own : WIDEST;
}

static void measure(struct fks_log_printer *printer, const struct fks_log_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const char *instance = fks_log_source_instance(batch->entries[i].source);
        size_t length;
        const char *subscriber = subscriber_of(&batch->entries[i], &length);
        widen(&printer->subscriber_width, subscriber, length);
        widen(&printer->instance_width, instance, strlen(instance));
    }
}

int fks_log_print(struct fks_log_printer *printer, const struct fks_log_batch *batch,
                  struct fks_error *error)
{
    struct fks_json_stream *stream = &printer->writing.stream;
    stream->sink = print;
    stream->data = stdout;
    if (!printer->json)
        measure(printer, batch);
    for (size_t i = 0; i < batch->count && !stream->failed && !ferror(stdout); i++) {
        if (printer->json)
            print_json(printer, &batch->entries[i]);
        else
            print_line(printer, &batch->entries[i]);
    }
    if (fflush(stdout) || ferror(stdout))
        return fks_fail(error, FORKSAFE_EJOURNAL, "standard output cannot be written to");
    return stream->failed ? fks_fail(error, FORKSAFE_ENOMEM, "no memory for the records") : 0;
}

void fks_log_printer_finish(struct fks_log_printer *printer)
{
    free(printer->writing.stream.buffer);
}
