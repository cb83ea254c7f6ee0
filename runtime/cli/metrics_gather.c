/* SPDX-License-Identifier: MIT
 *
 * Adds up the counters of journals for metrics.c. Trusts no number of a journal, and no text: what
 * a terminal would act on is spelled out, and two series never have the same labels. In the
 * commands.
 */
#include "metrics_gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/debug_json.h"
#include "core/finding.h"

/* --- label values --- */

/* Writes one character of a label's value; returns how many bytes of `text` it was. */
static size_t escape_one(const unsigned char *text, size_t left, char *to)
{
    unsigned code;
    size_t bytes = fks_utf8_unsafe(text, left, &code);
    if (!bytes && text[0] < 0x20 && text[0] != '\n') {
        code = text[0];
        bytes = 1;
    }
    if (bytes) { /* the format knows no such escape: it becomes a part of the value, "\u001b" */
        sprintf(to, "\\\\u%04x", code);
        return bytes;
    }
    if (text[0] == '\n' || text[0] == '"' || text[0] == '\\') {
        sprintf(to, "\\%c", text[0] == '\n' ? 'n' : text[0]);
        return 1;
    }
    bytes = fks_utf8_sequence(text, left);
    memcpy(to, bytes ? (const char *)text : "\xef\xbf\xbd", bytes ? bytes : 3);
    to[bytes ? bytes : 3] = '\0';
    return bytes ? bytes : 1;
}

/* What stands between the quotes of a label; for free(). NULL: no memory. */
static char *label_value(const struct fks_reader *reader, struct forksafe_string string)
{
    size_t length, used = 0;
    const char *text = fks_reader_string(reader, string, &length);
    char *value = malloc(length * 7 + 8); /* the longest for one byte is \\u001b */
    if (!value)
        return NULL;
    value[0] = '\0';
    for (size_t at = 0; at < length;) {
        at += escape_one((const unsigned char *)text + at, length - at, value + used);
        used += strlen(value + used);
    }
    return value;
}

static char *group_labels(const struct fks_reader *reader)
{
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    char *instance = label_value(reader, header->instance);
    char *server = label_value(reader, header->container);
    char *labels = NULL;
    if (!instance || !server ||
        asprintf(&labels, "forksafe_instance=\"%s\",server=\"%s\"", instance, server) < 0)
        labels = NULL;
    free(instance);
    free(server);
    return labels;
}

/* --- processes --- */

static enum fks_worker_state state_of(const struct forksafe_slot *slot, bool alive)
{
    if (!alive)
        return FKS_WORKER_DEAD;
    switch (slot->state) {
    case FORKSAFE_STATE_READY:
        return FKS_WORKER_READY;
    case FORKSAFE_STATE_EXITING:
        return FKS_WORKER_EXITING;
    default:
        return FKS_WORKER_STARTING;
    }
}

static bool is_worker(const struct forksafe_slot *slot)
{
    return slot->role == FORKSAFE_ROLE_WORKER || slot->role == FORKSAFE_ROLE_SINGLE ||
           slot->role == FORKSAFE_ROLE_MOLD;
}

static void add_slot(struct fks_metrics_group *group, const struct fks_reader *reader,
                     uint64_t claim, const struct forksafe_slot *slot)
{
    uint32_t records = fks_reader_header(reader)->records_per_slot;
    if (slot->last_sequence > records)
        group->overwritten += slot->last_sequence - records;
    bool is_settled = slot->owner == FORKSAFE_CLAIM_OWNER(claim);
    bool is_told = slot->state == FORKSAFE_STATE_EXITED || slot->state == FORKSAFE_STATE_GONE;
    if (!is_settled || is_told || !is_worker(slot))
        return;
    bool alive = !(claim & FORKSAFE_CLAIM_RELEASED) &&
                 fks_reader_process_alive(reader, FORKSAFE_CLAIM_PID(claim), slot->claimed);
    group->workers[state_of(slot, alive)]++;
}

/* A journal that goes away meanwhile counts as far as it was read. False: no memory. */
static bool add_slots(struct fks_metrics_group *group, const struct fks_reader *reader)
{
    uint32_t count = fks_reader_header(reader)->slot_count;
    uint64_t *claims = malloc(count * sizeof *claims);
    if (!claims)
        return false;
    if (!fks_reader_claims(reader, claims, count))
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct forksafe_slot slot;
        if (claims[i] && fks_reader_slot_head(reader, i, &slot))
            add_slot(group, reader, claims[i], &slot);
    }
    free(claims);
    return true;
}

/* --- groups --- */

static void add_header(struct fks_metrics_group *group, const struct fks_reader *reader)
{
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    for (int i = 0; i < FORKSAFE_ROLE_COUNT; i++)
        group->forks[i] += header->forks[i];
    group->alive += fks_reader_master_alive(reader);
    group->exits_clean += header->exits_clean;
    group->exits_failed += header->exits_failed;
    group->exits_signal += header->exits_signal;
    group->slots_refused += header->slots_refused;
    group->subscribers_refused += header->subscribers_refused;
    if (header->last_fork > group->last_fork)
        group->last_fork = header->last_fork;
}

static void add_hooks(struct fks_metrics_group *group, const struct fks_reader *reader)
{
    const struct forksafe_hook *hook;
    for (uint32_t i = 0; (hook = fks_reader_hook(reader, i)); i++) {
        if (hook->event >= FORKSAFE_EVENT_COUNT)
            continue;
        group->serves[hook->event] = true;
        group->events[hook->event] += hook->runs;
    }
}

static void add_findings(struct fks_metrics_group *group, const struct fks_reader *reader)
{
    const struct forksafe_finding_area *area = fks_reader_findings(reader);
    for (uint32_t i = 0; i < area->count; i++) {
        const struct forksafe_finding *finding = &area->findings[i];
        if (fks_finding_is_told(finding) && !fks_finding_is_repaired(finding))
            group->findings[finding->kind][fks_finding_severity(finding->kind, finding->subject)]++;
    }
}

/* The group of a reader, a new one if it is the first of it. NULL: no memory. */
static struct fks_metrics_group *group_of(struct fks_metrics *out, const struct fks_reader *reader)
{
    char *labels = group_labels(reader);
    if (!labels)
        return NULL;
    for (size_t i = 0; i < out->group_count; i++) {
        if (strcmp(out->groups[i].labels, labels))
            continue;
        free(labels);
        return &out->groups[i];
    }
    struct fks_metrics_group *group = &out->groups[out->group_count++];
    group->labels = labels;
    return group;
}

/* --- subscribers --- */

static int by_labels(const void *a, const void *b)
{
    const struct fks_metrics_series *one = a, *other = b;
    if (one->group != other->group)
        return one->group < other->group ? -1 : 1;
    if (one->event != other->event)
        return one->event < other->event ? -1 : 1;
    return strcmp(one->subscriber, other->subscriber);
}

/* What a histogram and the counters need; the longest run is no metric. */
static void add_cell(struct forksafe_cell *sum, const struct forksafe_cell *cell)
{
    sum->begun += cell->begun;
    sum->total_ns += cell->total_ns;
    for (int i = 0; i < FORKSAFE_OUTCOME_COUNT; i++)
        sum->outcomes[i] += cell->outcomes[i];
    for (int i = 0; i < FORKSAFE_BUCKETS; i++)
        sum->buckets[i] += cell->buckets[i];
}

static void merge_sorted(struct fks_metrics *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < out->series_count; i++) {
        struct fks_metrics_series *next = &out->series[i];
        if (kept && !by_labels(&out->series[kept - 1], next)) {
            add_cell(&out->series[kept - 1].cell, &next->cell);
            free(next->subscriber);
        } else {
            out->series[kept++] = *next;
        }
    }
    out->series_count = kept;
}

static bool add_subscribers(struct fks_metrics *out, size_t group, const struct fks_reader *reader)
{
    const struct forksafe_subscriber *subscriber;
    for (uint32_t i = 0; (subscriber = fks_reader_subscriber(reader, i)); i++) {
        if (subscriber->event >= FORKSAFE_EVENT_COUNT)
            continue;
        char *name = label_value(reader, subscriber->name);
        if (!name)
            return false;
        out->series[out->series_count++] = (struct fks_metrics_series){
            group, subscriber->event, name, *fks_reader_cell(reader, i)};
    }
    return true;
}

/* --- the whole --- */

static bool allocate(struct fks_metrics *out, struct fks_reader *const *readers, size_t count)
{
    size_t series = 0;
    for (size_t i = 0; i < count; i++)
        series += fks_reader_header(readers[i])->subscriber_count;
    out->groups = calloc(count + 1, sizeof *out->groups);
    out->series = malloc((series + 1) * sizeof *out->series);
    return out->groups && out->series;
}

static bool add_reader(struct fks_metrics *out, const struct fks_reader *reader)
{
    struct fks_metrics_group *group = group_of(out, reader);
    if (!group)
        return false;
    add_header(group, reader);
    add_hooks(group, reader);
    add_findings(group, reader);
    return add_slots(group, reader) && add_subscribers(out, (size_t)(group - out->groups), reader);
}

int fks_metrics_init(struct fks_metrics *out, struct fks_reader *const *readers, size_t count)
{
    *out = (struct fks_metrics){0};
    bool whole = allocate(out, readers, count);
    for (size_t i = 0; whole && i < count; i++)
        whole = add_reader(out, readers[i]);
    if (!whole)
        return FORKSAFE_ENOMEM;
    qsort(out->series, out->series_count, sizeof *out->series, by_labels);
    merge_sorted(out);
    return 0;
}

void fks_metrics_finish(struct fks_metrics *metrics)
{
    for (size_t i = 0; i < metrics->group_count; i++)
        free(metrics->groups[i].labels);
    for (size_t i = 0; i < metrics->series_count; i++)
        free(metrics->series[i].subscriber);
    free(metrics->groups);
    free(metrics->series);
}
