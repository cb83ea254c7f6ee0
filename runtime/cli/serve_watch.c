/* SPDX-License-Identifier: MIT
 *
 * What changed in a journal since the last look (serve_watch.h). Of each slot it is remembered how
 * its fixed part looked, up to which record all were told, and which of those have not ended.
 */
#include "serve_watch.h"

#include <stdlib.h>
#include <string.h>

#include "core/debug_object.h"

#define ALIVE_CHECKS 512 /* processes looked for in /proc at one look; then others' turn */

/* A record that has to be looked at again. */
struct pending {
    uint64_t number;
    bool told; /* as begun; false: it was still being written */
};

/* A slot as it was at the last look. */
struct seen {
    uint64_t claim; /* 0: nobody had it */
    struct forksafe_slot head;
    pid_t pid; /* of the owner that was told; 0: nobody */
    bool alive;
    uint64_t last; /* newest record that was told or is pending */
    struct pending *pending;
    uint32_t pending_count;
};

struct fks_watch {
    struct fks_reader *reader;
    struct seen *slots;
    uint64_t *claims; /* of this look */
    uint32_t slot_count, turn;
    struct fks_debug_writing writing; /* its clock only */
    fks_watch_report report;          /* NULL: nothing is told */
    void *data;
    bool alive, refreshed;
};

/* --- telling --- */

static void tell(struct fks_watch *watch, const char *kind, json_t *object, json_t *key)
{
    json_object_set_new(object, "key", key);
    watch->report(kind, object, watch->data);
}

static void tell_process(struct fks_watch *watch, const struct fks_reader_slot *slot)
{
    if (watch->report)
        tell(watch, "process", fks_debug_process(&watch->writing, watch->reader, slot),
             fks_debug_process_key(slot));
}

static void tell_record(struct fks_watch *watch, uint32_t slot,
                        const struct forksafe_record *record, bool live)
{
    if (!watch->report)
        return;
    tell(watch, "record", fks_debug_record(&watch->writing, watch->reader, record, live),
         fks_debug_record_key(watch->reader, slot, record->sequence / 2));
}

/* --- records --- */

static void add_pending(struct seen *seen, uint64_t number, bool told)
{
    struct pending *more =
        realloc(seen->pending, (seen->pending_count + 1) * sizeof *seen->pending);
    if (!more)
        return; /* its end will not be told; the page loads everything now and then */
    seen->pending = more;
    more[seen->pending_count++] = (struct pending){number, told};
}

/* Those that were told as begun, or were being written: has anything become of them? With `over`
 * their process is dead, and nothing ever will. */
static void look_at_pending(struct fks_watch *watch, uint32_t index, struct seen *seen, bool over)
{
    uint64_t kept_from = seen->head.last_sequence;
    uint32_t places = fks_reader_header(watch->reader)->records_per_slot, left = 0;
    kept_from = kept_from > places ? kept_from - places + 1 : 1;
    for (uint32_t i = 0; i < seen->pending_count; i++) {
        struct pending pending = seen->pending[i];
        struct forksafe_record record;
        bool is_there = fks_reader_record(watch->reader, index, pending.number, &record);
        if (is_there && (record.ended || !pending.told || over)) {
            tell_record(watch, index, &record, !over);
            pending.told = true;
        }
        if (over || pending.number < kept_from || (is_there && record.ended))
            continue;
        seen->pending[left++] = pending;
    }
    seen->pending_count = left;
}

/* Tells the slot's new records; those that are missing among them are pending. */
static void look_at_records(struct fks_watch *watch, struct seen *seen,
                            const struct fks_reader_slot *slot)
{
    uint64_t last = slot->slot.last_sequence, next = seen->last + 1;
    uint32_t places = fks_reader_header(watch->reader)->records_per_slot;
    if (last >= places && next < last - places + 1)
        next = last - places + 1;
    for (uint32_t i = 0; i < slot->record_count; i++) {
        const struct forksafe_record *record = &slot->records[i];
        uint64_t number = record->sequence / 2;
        if (number < next)
            continue;
        for (; next < number; next++)
            add_pending(seen, next, false);
        next = number + 1;
        bool live = slot->alive && fks_reader_record_is_owners(slot, record);
        tell_record(watch, slot->index, record, live);
        if (!record->ended && live)
            add_pending(seen, number, true);
    }
    /* Counted: a journal that lies may say that its last record has the largest number there is. */
    for (uint32_t i = 0; slot->alive && i < places && next <= last; i++, next++)
        add_pending(seen, next, false);
    seen->last = last > seen->last ? last : seen->last;
}

/* --- processes --- */

/* The owner that was told has lost its slot to another: it is dead. Tells so from memory. */
static void bury(struct fks_watch *watch, uint32_t index, struct seen *seen)
{
    if (!seen->pid || !seen->alive)
        return;
    struct fks_reader_slot last = {
        .index = index, .pid = seen->pid, .settled = true, .slot = seen->head};
    tell_process(watch, &last);
    look_at_pending(watch, index, seen, true);
}

/* Whether a process message would say anything new. */
static bool is_news(const struct seen *seen, const struct fks_reader_slot *slot)
{
    const struct forksafe_slot *old = &seen->head, *now = &slot->slot;
    return seen->pid != slot->pid || seen->alive != slot->alive || old->claimed != now->claimed ||
           old->state != now->state || old->ended != now->ended || old->runs != now->runs ||
           old->failed != now->failed || old->worker != now->worker || old->role != now->role ||
           old->flags != now->flags || old->error_total != now->error_total ||
           old->exit_status != now->exit_status || old->exit_signal != now->exit_signal;
}

/* Whether a record names what is not in the tables as they were read: a reload has added to them.
 * Once a look: a damaged journal may name anything. */
static bool has_unknown(const struct fks_watch *watch, const struct fks_reader_slot *slot)
{
    const struct forksafe_journal_header *header = fks_reader_header(watch->reader);
    bool unknown = false;
    for (uint32_t i = 0; i < slot->record_count; i++) {
        uint32_t hook = slot->records[i].hook, subscriber = slot->records[i].subscriber;
        unknown = unknown || (hook != FORKSAFE_NO_SUBSCRIBER && hook >= header->hook_count) ||
                  (subscriber != FORKSAFE_NO_SUBSCRIBER && subscriber >= header->subscriber_count);
    }
    return unknown && !watch->refreshed;
}

/* Reads a slot in full and tells what is new. False: the file went away. */
static bool look_at_slot(struct fks_watch *watch, uint32_t index, struct fks_error *error)
{
    struct seen *seen = &watch->slots[index];
    struct fks_reader_slot slot;
    int rc = fks_reader_slot_read(watch->reader, index, &slot, error);
    if (rc > 0 && has_unknown(watch, &slot)) {
        watch->refreshed = true;
        if (fks_reader_refresh(watch->reader, error))
            return false;
        rc = fks_reader_slot_read(watch->reader, index, &slot, error);
    }
    if (rc <= 0)
        return rc == 0;
    if (!slot.settled && slot.alive)
        return true; /* it will say in a moment who it is */
    if (slot.pid != seen->pid || slot.slot.claimed != seen->head.claimed)
        bury(watch, index, seen);
    if (is_news(seen, &slot))
        tell_process(watch, &slot);
    seen->pid = slot.pid;
    seen->alive = slot.alive;
    seen->head = slot.slot;
    look_at_pending(watch, index, seen, !slot.alive);
    look_at_records(watch, seen, &slot);
    seen->claim = watch->claims[index];
    return true;
}

static bool has_untold(const struct seen *seen)
{
    for (uint32_t i = 0; i < seen->pending_count; i++)
        if (!seen->pending[i].told)
            return true;
    return false;
}

/* Whether anything in the slot may be new. Returns 1, 0, or -1: the file went away. */
static int has_changed(struct fks_watch *watch, uint32_t index, uint32_t *checks)
{
    struct seen *seen = &watch->slots[index];
    uint64_t claim = watch->claims[index];
    struct forksafe_slot head;
    if (claim == seen->claim && (!claim || claim & FORKSAFE_CLAIM_RELEASED))
        return 0; /* nothing is written there any more */
    if (claim != seen->claim)
        return 1;
    if (!fks_reader_slot_head(watch->reader, index, &head))
        return -1;
    if (memcmp(&head, &seen->head, sizeof head) || has_untold(seen))
        return 1;
    if (!seen->alive || *checks >= ALIVE_CHECKS)
        return 0;
    (*checks)++;
    return !fks_reader_process_alive(watch->reader, seen->pid, head.claimed);
}

/* --- the whole --- */

/* The journal cannot be read as it was. */
static int lost(struct fks_watch *watch, struct fks_error *error)
{
    int rc = fks_reader_refresh(watch->reader, error);
    return rc ? rc
              : fks_fail(error, FORKSAFE_EJOURNAL, "%s: has changed while it was read",
                         fks_reader_path(watch->reader));
}

/* Each look begins where the last one had no checks left. */
static int look(struct fks_watch *watch, struct fks_error *error)
{
    uint32_t checks = 0, next = watch->turn, living = 0;
    watch->writing.stream.clock_difference = fks_json_clock_difference();
    watch->refreshed = false;
    if (!fks_reader_claims(watch->reader, watch->claims, watch->slot_count))
        return lost(watch, error);
    for (uint32_t i = 0; i < watch->slot_count; i++) {
        uint32_t index = (watch->turn + i) % watch->slot_count;
        int changed = has_changed(watch, index, &checks);
        if (changed < 0 || (changed && !look_at_slot(watch, index, error)))
            return lost(watch, error);
        if (!changed && watch->slots[index].pending_count)
            look_at_pending(watch, index, &watch->slots[index], false);
        if (checks < ALIVE_CHECKS)
            next = index + 1;
        living += watch->slots[index].alive;
    }
    watch->turn = checks < ALIVE_CHECKS ? 0 : next % watch->slot_count;
    watch->alive = living > 0;
    return 0;
}

int fks_watch_look(struct fks_watch *watch, fks_watch_report report, void *data,
                   struct fks_error *error)
{
    watch->report = report;
    watch->data = data;
    return look(watch, error);
}

struct fks_watch *fks_watch_create(struct fks_reader *reader)
{
    struct fks_watch *watch = calloc(1, sizeof *watch);
    if (!watch) {
        fks_reader_close(reader);
        return NULL;
    }
    watch->reader = reader;
    watch->slot_count = fks_reader_header(reader)->slot_count;
    watch->slots = calloc(watch->slot_count, sizeof *watch->slots);
    watch->claims = calloc(watch->slot_count, sizeof *watch->claims);
    if (watch->slots && watch->claims)
        return watch;
    fks_watch_destroy(watch);
    return NULL;
}

void fks_watch_destroy(struct fks_watch *watch)
{
    if (!watch)
        return;
    for (uint32_t i = 0; watch->slots && i < watch->slot_count; i++)
        free(watch->slots[i].pending);
    free(watch->slots);
    free(watch->claims);
    fks_reader_close(watch->reader);
    free(watch);
}

bool fks_watch_is_of(const struct fks_watch *watch, const struct fks_reader *reader)
{
    const struct forksafe_journal_header *own = fks_reader_header(watch->reader);
    const struct forksafe_journal_header *other = fks_reader_header(reader);
    return own->master_pid == other->master_pid && own->created == other->created &&
           own->master_start_ticks == other->master_start_ticks &&
           !memcmp(own->boot_id, other->boot_id, sizeof own->boot_id);
}

bool fks_watch_is_alive(const struct fks_watch *watch)
{
    return watch->alive;
}

/* --- what came since --- */

static void replay_slot(struct fks_watch *watch, const struct fks_reader_slot *slot, uint64_t since)
{
    const struct forksafe_slot *head = &slot->slot;
    if ((slot->settled || !slot->alive) && (head->claimed > since || head->state_since > since ||
                                            head->ended > since || (!slot->alive && !head->ended)))
        tell_process(watch, slot);
    for (uint32_t i = 0; i < slot->record_count; i++) {
        const struct forksafe_record *record = &slot->records[i];
        if (record->begun > since || !record->ended || record->begun + (record->ended >> 8) > since)
            tell_record(watch, slot->index, record,
                        slot->alive && fks_reader_record_is_owners(slot, record));
    }
}

int fks_watch_replay(struct fks_watch *watch, uint64_t since, fks_watch_report report, void *data,
                     struct fks_error *error)
{
    watch->report = report;
    watch->data = data;
    for (uint32_t i = 0; i < watch->slot_count; i++) {
        struct fks_reader_slot slot;
        int rc = fks_reader_slot_read(watch->reader, i, &slot, error);
        if (rc < 0)
            return rc;
        if (rc)
            replay_slot(watch, &slot, since);
    }
    return 0;
}
