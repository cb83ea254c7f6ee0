/* SPDX-License-Identifier: MIT
 *
 * The first pass over the journals of an instance (debug_gather.h). Runs where the debug object is
 * asked for: in the commands, and in hosts.
 */
#include "debug_gather.h"

#include <stdlib.h>
#include <string.h>

/* Makes room for one more item; false: no memory. */
static bool grow(void **items, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return true;
    size_t wanted = *room ? *room * 2 : 64;
    void *more = realloc(*items, wanted * size);
    if (!more)
        return false;
    *items = more;
    *room = wanted;
    return true;
}

/* --- processes and records --- */

static bool is_wanted_pid(const struct fks_debug_view *view, int32_t pid)
{
    bool found = !view->pids;
    for (size_t i = 0; i < view->pid_count && !found; i++)
        found = view->pids[i] == pid;
    return found;
}

/* Whether it ran between the view's bounds; what has not ended runs still, or nobody knows until
 * when it did. */
static bool is_wanted(const struct fks_debug_view *view, const struct forksafe_record *record)
{
    return view->records && record->begun <= view->records_to &&
           (!record->ended || record->begun + (record->ended >> 8) >= view->records_from) &&
           is_wanted_pid(view, record->pid);
}

static bool add_slot(struct fks_gathered *out, uint32_t reader, const struct fks_reader_slot *slot)
{
    if (!grow((void **)&out->processes, out->process_count, &out->process_room,
              sizeof *out->processes))
        return false;
    if (is_wanted_pid(out->view, slot->pid))
        out->processes[out->process_count++] =
            (struct fks_process_ref){slot->slot.claimed, slot->index, reader};
    out->losses[reader].overwritten += fks_reader_overwritten(out->readers[reader], slot);
    out->losses[reader].torn += slot->torn;
    for (uint32_t i = 0; i < slot->record_count; i++) {
        const struct forksafe_record *record = &slot->records[i];
        if (!is_wanted(out->view, record))
            continue;
        if (!grow((void **)&out->records, out->record_count, &out->record_room,
                  sizeof *out->records))
            return false;
        out->records[out->record_count++] = (struct fks_record_ref){
            .begun = record->begun,
            .number = record->sequence / 2,
            .slot = slot->index,
            .reader = (uint16_t)reader,
            .live = slot->alive && fks_reader_record_is_owners(slot, record),
        };
    }
    return true;
}

static bool gather_slots(struct fks_gathered *out, uint32_t reader)
{
    uint32_t count = fks_reader_header(out->readers[reader])->slot_count;
    for (uint32_t i = 0; i < count; i++) {
        struct fks_reader_slot slot;
        int rc = fks_reader_slot_read(out->readers[reader], i, &slot, NULL);
        if (rc < 0)
            return true;
        if (rc && !add_slot(out, reader, &slot))
            return false;
    }
    return true;
}

static int by_claim(const void *a, const void *b)
{
    const struct fks_process_ref *one = a, *other = b;
    if (one->claimed != other->claimed)
        return one->claimed < other->claimed ? -1 : 1;
    if (one->reader != other->reader)
        return one->reader < other->reader ? -1 : 1;
    return (one->slot > other->slot) - (one->slot < other->slot);
}

static int by_begin(const void *a, const void *b)
{
    const struct fks_record_ref *one = a, *other = b;
    if (one->begun != other->begun)
        return one->begun < other->begun ? -1 : 1;
    if (one->slot != other->slot)
        return one->slot < other->slot ? -1 : 1;
    return (one->number > other->number) - (one->number < other->number);
}

/* --- hooks --- */

static bool same_text(const struct fks_reader *one, struct forksafe_string a,
                      const struct fks_reader *other, struct forksafe_string b)
{
    size_t length, other_length;
    const char *text = fks_reader_string(one, a, &length);
    const char *other_text = fks_reader_string(other, b, &other_length);
    return length == other_length && !memcmp(text, other_text, length);
}

static struct fks_hook_sum *find_hook(struct fks_gathered *out, const struct fks_reader *reader,
                                      const struct forksafe_hook *hook)
{
    for (size_t i = 0; i < out->hook_count; i++)
        if (out->hooks[i].hook.event == hook->event &&
            same_text(out->hooks[i].reader, out->hooks[i].hook.name, reader, hook->name))
            return &out->hooks[i];
    return NULL;
}

static void merge_hook(struct fks_gathered *out, struct fks_reader *reader,
                       const struct forksafe_hook *hook)
{
    struct fks_hook_sum *sum = find_hook(out, reader, hook);
    if (!sum) {
        out->hooks[out->hook_count++] = (struct fks_hook_sum){reader, *hook};
        return;
    }
    sum->hook.runs += hook->runs;
    if (hook->first_run && (!sum->hook.first_run || hook->first_run < sum->hook.first_run))
        sum->hook.first_run = hook->first_run;
}

static bool gather_hooks(struct fks_gathered *out)
{
    size_t room = 0;
    for (size_t i = 0; i < out->reader_count; i++)
        room += fks_reader_header(out->readers[i])->hook_count;
    out->hooks = malloc((room + 1) * sizeof *out->hooks);
    if (!out->hooks)
        return false;
    for (size_t i = 0; i < out->reader_count; i++) {
        const struct forksafe_hook *hook;
        for (uint32_t n = 0; (hook = fks_reader_hook(out->readers[i], n)); n++)
            if (hook->event < FORKSAFE_EVENT_COUNT)
                merge_hook(out, out->readers[i], hook);
    }
    return true;
}

/* --- subscribers --- */

/* By event and name, the older master's first. */
static int by_subscriber(const void *a, const void *b, void *data)
{
    struct fks_reader *const *readers = data;
    const struct fks_subscriber_sum *one = a, *other = b;
    const struct forksafe_subscriber *left =
        fks_reader_subscriber(readers[one->reader], one->index);
    const struct forksafe_subscriber *right =
        fks_reader_subscriber(readers[other->reader], other->index);
    if (left->event != right->event)
        return left->event < right->event ? -1 : 1;
    size_t length, other_length;
    const char *text = fks_reader_string(readers[one->reader], left->name, &length);
    const char *other_text = fks_reader_string(readers[other->reader], right->name, &other_length);
    int order = memcmp(text, other_text, length < other_length ? length : other_length);
    if (order || length != other_length)
        return order ? order : length < other_length ? -1 : 1;
    if (one->reader != other->reader)
        return one->reader < other->reader ? -1 : 1;
    return (one->index > other->index) - (one->index < other->index);
}

static int by_registration(const void *a, const void *b)
{
    const struct fks_subscriber_sum *one = a, *other = b;
    if (one->reader != other->reader)
        return one->reader < other->reader ? -1 : 1;
    return (one->index > other->index) - (one->index < other->index);
}

static void add_cell(struct forksafe_cell *sum, const struct forksafe_cell *cell)
{
    sum->begun += cell->begun;
    sum->total_ns += cell->total_ns;
    if (cell->max_ns > sum->max_ns)
        sum->max_ns = cell->max_ns;
    for (int i = 0; i < FORKSAFE_OUTCOME_COUNT; i++)
        sum->outcomes[i] += cell->outcomes[i];
    for (int i = 0; i < FORKSAFE_BUCKETS; i++)
        sum->buckets[i] += cell->buckets[i];
}

static bool is_same_subscriber(const struct fks_gathered *out, const struct fks_subscriber_sum *a,
                               const struct fks_subscriber_sum *b)
{
    struct fks_reader *one = out->readers[a->reader], *other = out->readers[b->reader];
    const struct forksafe_subscriber *left = fks_reader_subscriber(one, a->index);
    const struct forksafe_subscriber *right = fks_reader_subscriber(other, b->index);
    return left->event == right->event && same_text(one, left->name, other, right->name);
}

/* All subscribers sorted: those of one name and event stand together, the newest description last.
 */
static void merge_sorted(struct fks_gathered *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < out->subscriber_count; i++) {
        struct fks_subscriber_sum *next = &out->subscribers[i];
        if (kept && is_same_subscriber(out, &out->subscribers[kept - 1], next)) {
            struct fks_subscriber_sum *sum = &out->subscribers[kept - 1];
            add_cell(&sum->cell, &next->cell);
            sum->reader = next->reader;
            sum->index = next->index;
        } else {
            out->subscribers[kept++] = *next;
        }
    }
    out->subscriber_count = kept;
}

static bool gather_subscribers(struct fks_gathered *out)
{
    size_t room = 0;
    for (size_t i = 0; i < out->reader_count; i++)
        room += fks_reader_header(out->readers[i])->subscriber_count;
    out->subscribers = malloc((room + 1) * sizeof *out->subscribers);
    if (!out->subscribers)
        return false;
    for (uint32_t i = 0; i < out->reader_count; i++) {
        const struct forksafe_subscriber *subscriber;
        for (uint32_t n = 0; (subscriber = fks_reader_subscriber(out->readers[i], n)); n++)
            if (subscriber->event < FORKSAFE_EVENT_COUNT)
                out->subscribers[out->subscriber_count++] =
                    (struct fks_subscriber_sum){i, n, *fks_reader_cell(out->readers[i], n)};
    }
    qsort_r(out->subscribers, out->subscriber_count, sizeof *out->subscribers, by_subscriber,
            (void *)out->readers);
    merge_sorted(out);
    qsort(out->subscribers, out->subscriber_count, sizeof *out->subscribers, by_registration);
    return true;
}

/* Leaves only the newest of the sorted records. */
static void drop_old_records(struct fks_gathered *out)
{
    size_t wanted = out->view->newest_records;
    if (out->record_count <= wanted)
        return;
    if (wanted)
        memmove(out->records, out->records + (out->record_count - wanted),
                wanted * sizeof *out->records);
    out->record_count = wanted;
}

int fks_gathered_init_view(struct fks_gathered *out, const struct fks_debug_view *view,
                           struct fks_reader *const *readers, size_t count, struct fks_error *error)
{
    *out = (struct fks_gathered){.view = view, .readers = readers, .reader_count = count};
    out->losses = calloc(count + 1, sizeof *out->losses);
    bool whole = out->losses && gather_hooks(out) && gather_subscribers(out);
    for (uint32_t i = 0; whole && i < count; i++)
        whole = gather_slots(out, i);
    if (!whole)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory for the debug object");
    if (out->process_count)
        qsort(out->processes, out->process_count, sizeof *out->processes, by_claim);
    if (out->record_count)
        qsort(out->records, out->record_count, sizeof *out->records, by_begin);
    drop_old_records(out);
    return 0;
}

int fks_gathered_init(struct fks_gathered *out, struct fks_reader *const *readers, size_t count,
                      struct fks_error *error)
{
    return fks_gathered_init_view(out, &fks_debug_whole, readers, count, error);
}

void fks_gathered_finish(struct fks_gathered *gathered)
{
    free(gathered->losses);
    free(gathered->processes);
    free(gathered->records);
    free(gathered->hooks);
    free(gathered->subscribers);
}
