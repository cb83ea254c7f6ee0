/* SPDX-License-Identifier: MIT
 *
 * Which records of a journal are new (log_look.h). Of each slot it is remembered up to which number
 * all were taken, and which of those had not ended: they are looked at again.
 */
#include "log_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_NUMBER (UINT64_MAX / 4)

/* A record that is looked at again: it was running, or was still being written. */
struct open_record {
    uint64_t number;
    pid_t pid;  /* whose slot it was */
    bool taken; /* as running */
};

/* A slot as it was at the last look. */
struct seen {
    uint64_t claim; /* 0: nobody had it */
    uint64_t last;  /* number of the newest record that was taken or is open */
    struct open_record *open;
    uint32_t open_count;
};

struct fks_log_source {
    struct fks_reader *reader;
    char instance[256];
    struct seen *slots;
    uint64_t *claims; /* of this look */
    uint32_t slot_count;
    bool refreshed; /* in this look */
};

/* --- the batch --- */

static int oldest_first(const void *a, const void *b)
{
    const struct fks_log_entry *one = a, *other = b;
    if (one->record.begun != other->record.begun)
        return one->record.begun < other->record.begun ? -1 : 1;
    if (one->slot != other->slot)
        return one->slot < other->slot ? -1 : 1;
    return (one->record.sequence > other->record.sequence) -
           (one->record.sequence < other->record.sequence);
}

void fks_log_batch_finish_look(struct fks_log_batch *batch)
{
    if (!batch->count)
        return;
    qsort(batch->entries, batch->count, sizeof *batch->entries, oldest_first);
    size_t too_many = batch->count > batch->newest ? batch->count - batch->newest : 0;
    for (size_t i = 0; i < too_many; i++)
        free(batch->entries[i].error);
    batch->count -= too_many;
    memmove(batch->entries, batch->entries + too_many, batch->count * sizeof *batch->entries);
}

void fks_log_batch_clear(struct fks_log_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        free(batch->entries[i].error);
    free(batch->entries);
    batch->entries = NULL;
    batch->count = batch->room = 0;
    batch->overwritten = 0;
}

/* Makes room for one more entry: where only the newest are wanted, by dropping old ones now and
 * then. */
static bool make_room(struct fks_log_batch *batch)
{
    if (batch->count < batch->room)
        return true;
    if (batch->count > 1024 && batch->count / 2 > batch->newest) {
        fks_log_batch_finish_look(batch);
        return true;
    }
    size_t room = batch->room ? batch->room * 2 : 64;
    struct fks_log_entry *more = realloc(batch->entries, room * sizeof *more);
    if (!more)
        return false;
    batch->entries = more;
    batch->room = room;
    return true;
}

/* The slot keeps the newest error of its process. */
static char *error_of(const struct fks_reader_slot *slot, const struct forksafe_record *record)
{
    bool is_its = slot->error && slot->slot.error_record == record->sequence / 2 &&
                  fks_reader_record_is_owners(slot, record) && record->ended;
    return is_its ? strdup(slot->error) : NULL;
}

static void take(struct fks_log_source *source, struct fks_log_batch *batch,
                 const struct fks_reader_slot *slot, const struct forksafe_record *record,
                 bool live)
{
    if (!fks_log_filter_takes(batch->filter, source->reader, record, live, batch->difference))
        return;
    if (!make_room(batch)) {
        batch->failed = true;
        return;
    }
    batch->entries[batch->count++] = (struct fks_log_entry){
        .record = *record,
        .source = source,
        .slot = slot->index,
        .live = live,
        .error = error_of(slot, record),
    };
}

/* --- one slot --- */

static void keep_open(struct fks_log_batch *batch, struct seen *seen, uint64_t number, pid_t pid,
                      bool taken)
{
    struct open_record *more = realloc(seen->open, (seen->open_count + 1) * sizeof *more);
    if (!more) {
        batch->failed = true;
        return;
    }
    seen->open = more;
    more[seen->open_count++] = (struct open_record){number, pid, taken};
}

/* One that has just got the slot may have begun a record before it could be seen to be settled. */
static bool is_live(const struct fks_reader_slot *slot, const struct forksafe_record *record)
{
    return slot->alive && (fks_reader_record_is_owners(slot, record) ||
                           (!slot->settled && record->pid == slot->pid));
}

static const struct forksafe_record *find(const struct fks_reader_slot *slot, uint64_t number)
{
    for (uint32_t i = 0; i < slot->record_count; i++)
        if (slot->records[i].sequence / 2 == number)
            return &slot->records[i];
    return NULL;
}

/* What has become of the records that had not ended. */
static void take_open(struct fks_log_source *source, struct fks_log_batch *batch, struct seen *seen,
                      const struct fks_reader_slot *slot, uint64_t oldest)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < seen->open_count; i++) {
        struct open_record open = seen->open[i];
        const struct forksafe_record *record = find(slot, open.number);
        bool live = record ? is_live(slot, record) : slot->alive && slot->pid == open.pid;
        if (record && (record->ended || !live || !open.taken))
            take(source, batch, slot, record, live);
        if (record && (record->ended || !live))
            continue;
        if (!record && (open.number < oldest || !live)) {
            batch->overwritten += live;
            continue;
        }
        open.taken = open.taken || record;
        seen->open[left++] = open;
    }
    seen->open_count = left;
}

/* Those whose numbers are higher than any before. */
static void take_new(struct fks_log_source *source, struct fks_log_batch *batch, struct seen *seen,
                     const struct fks_reader_slot *slot, uint64_t oldest)
{
    uint64_t last = slot->slot.last_sequence, next = seen->last + 1;
    if (next < oldest) {
        batch->overwritten += batch->first ? 0 : oldest - next;
        next = oldest;
    }
    for (uint32_t i = 0; i < slot->record_count; i++) {
        const struct forksafe_record *record = &slot->records[i];
        uint64_t number = record->sequence / 2;
        if (number < next)
            continue;
        for (; slot->alive && next < number; next++)
            keep_open(batch, seen, next, slot->pid, false);
        next = number + 1;
        bool live = is_live(slot, record);
        take(source, batch, slot, record, live);
        if (!record->ended && live)
            keep_open(batch, seen, number, slot->pid, true);
    }
    for (; slot->alive && next <= last; next++)
        keep_open(batch, seen, next, slot->pid, false);
    seen->last = last > seen->last ? last : seen->last;
}

/* Whether a record names what is not in the tables as they were read: a reload has added to them.
 * Once a look: a damaged journal may name anything. */
static bool has_unknown(const struct fks_log_source *source, const struct fks_reader_slot *slot)
{
    const struct forksafe_journal_header *header = fks_reader_header(source->reader);
    for (uint32_t i = 0; !source->refreshed && i < slot->record_count; i++) {
        uint32_t hook = slot->records[i].hook, subscriber = slot->records[i].subscriber;
        if ((hook != FORKSAFE_NO_SUBSCRIBER && hook >= header->hook_count) ||
            (subscriber != FORKSAFE_NO_SUBSCRIBER && subscriber >= header->subscriber_count))
            return true;
    }
    return false;
}

static bool has_unended(const struct fks_reader_slot *slot)
{
    for (uint32_t i = 0; i < slot->record_count; i++)
        if (!slot->records[i].ended && fks_reader_record_is_owners(slot, &slot->records[i]))
            return true;
    return false;
}

/* Reads a slot so that what it says of the process's end is true: whether it lives was asked after
 * its records were read, and one that has died since may have written more before. Returns as
 * fks_reader_slot_read. */
static int read_slot(struct fks_log_source *source, uint32_t index, struct fks_reader_slot *slot,
                     struct fks_error *error)
{
    int rc = fks_reader_slot_read(source->reader, index, slot, error);
    if (rc > 0 && has_unknown(source, slot)) {
        source->refreshed = true;
        rc = fks_reader_refresh(source->reader, error);
        rc = rc ? rc : fks_reader_slot_read(source->reader, index, slot, error);
    }
    if (rc > 0 && !slot->alive && has_unended(slot))
        rc = fks_reader_slot_read(source->reader, index, slot, error);
    return rc;
}

/* Whether anything in the slot may be new. Returns 1, 0, or -1: the file went away. */
static int has_changed(const struct fks_log_source *source, uint32_t index)
{
    const struct seen *seen = &source->slots[index];
    struct forksafe_slot head;
    if (source->claims[index] != seen->claim || seen->open_count)
        return 1;
    if (!seen->claim || seen->claim & FORKSAFE_CLAIM_RELEASED)
        return 0; /* nobody writes there any more */
    if (!fks_reader_slot_head(source->reader, index, &head))
        return -1;
    return head.last_sequence != seen->last;
}

static int look_at_slot(struct fks_log_source *source, struct fks_log_batch *batch, uint32_t index,
                        struct fks_error *error)
{
    struct seen *seen = &source->slots[index];
    struct fks_reader_slot slot;
    int rc = read_slot(source, index, &slot, error);
    if (rc <= 0)
        return rc;
    if (slot.slot.last_sequence > LAST_NUMBER)
        slot.slot.last_sequence = LAST_NUMBER; /* a damaged journal's: counting up must end */
    uint64_t last = slot.slot.last_sequence;
    uint32_t places = fks_reader_header(source->reader)->records_per_slot;
    uint64_t oldest = last > places ? last - places + 1 : 1;
    take_open(source, batch, seen, &slot, oldest);
    take_new(source, batch, seen, &slot, oldest);
    seen->claim = source->claims[index];
    return 0;
}

/* --- the whole --- */

/* The journal cannot be read as it was. */
static int lost(struct fks_log_source *source, struct fks_error *error)
{
    int rc = fks_reader_refresh(source->reader, error);
    return rc ? rc
              : fks_fail(error, FORKSAFE_EJOURNAL, "%s: has changed while it was read",
                         fks_reader_path(source->reader));
}

int fks_log_source_look(struct fks_log_source *source, struct fks_log_batch *batch,
                        struct fks_error *error)
{
    source->refreshed = false;
    if (!fks_reader_claims(source->reader, source->claims, source->slot_count))
        return lost(source, error);
    for (uint32_t i = 0; i < source->slot_count; i++) {
        int changed = has_changed(source, i);
        if (changed < 0 || (changed && look_at_slot(source, batch, i, error)))
            return lost(source, error);
    }
    return 0;
}

bool fks_log_source_is_alive(const struct fks_log_source *source)
{
    if (fks_reader_master_alive(source->reader))
        return true;
    for (uint32_t i = 0; i < source->slot_count; i++) {
        uint64_t claim = source->claims[i];
        struct forksafe_slot head;
        if (claim && !(claim & FORKSAFE_CLAIM_RELEASED) &&
            fks_reader_slot_head(source->reader, i, &head) &&
            fks_reader_process_alive(source->reader, FORKSAFE_CLAIM_PID(claim), head.claimed))
            return true;
    }
    return false;
}

struct fks_log_source *fks_log_source_create(struct fks_reader *reader, const char *instance)
{
    struct fks_log_source *source = calloc(1, sizeof *source);
    if (!source) {
        fks_reader_close(reader);
        return NULL;
    }
    source->reader = reader;
    source->slot_count = fks_reader_header(reader)->slot_count;
    source->slots = calloc(source->slot_count, sizeof *source->slots);
    source->claims = calloc(source->slot_count, sizeof *source->claims);
    snprintf(source->instance, sizeof source->instance, "%s", instance);
    if (source->slots && source->claims)
        return source;
    fks_log_source_destroy(source);
    return NULL;
}

void fks_log_source_destroy(struct fks_log_source *source)
{
    if (!source)
        return;
    for (uint32_t i = 0; source->slots && i < source->slot_count; i++)
        free(source->slots[i].open);
    free(source->slots);
    free(source->claims);
    fks_reader_close(source->reader);
    free(source);
}

const char *fks_log_source_instance(const struct fks_log_source *source)
{
    return source->instance;
}

struct fks_reader *fks_log_source_reader(const struct fks_log_source *source)
{
    return source->reader;
}
