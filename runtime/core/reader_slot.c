/* SPDX-License-Identifier: MIT
 *
 * Reading one process of a journal while it writes: three copies of its slot, one after the other.
 * What the second one says is believed where the first and the third agree that nothing changed.
 * Runs in the commands, and in a host over its own map.
 */
#include "reader_private.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 4 /* for a slot that changes its owner meanwhile */

static uint64_t slot_offset(const struct fks_reader *reader, uint32_t index)
{
    return reader->header.slots_offset + (uint64_t)index * reader->header.slot_stride;
}

static bool fetch_claim(const struct fks_reader *reader, uint32_t index, uint64_t *claim)
{
    return fks_reader_fetch(reader, reader->header.claims_offset + index * sizeof *claim, claim,
                            sizeof *claim);
}

bool fks_reader_claims(const struct fks_reader *reader, uint64_t *claims, uint32_t count)
{
    return count <= reader->header.slot_count &&
           fks_reader_fetch(reader, reader->header.claims_offset, claims, count * sizeof *claims);
}

bool fks_reader_slot_head(const struct fks_reader *reader, uint32_t index,
                          struct forksafe_slot *head)
{
    return index < reader->header.slot_count &&
           fks_reader_fetch(reader, slot_offset(reader, index), head, sizeof *head);
}

bool fks_reader_slot_is_of(struct fks_reader *reader, uint32_t index, pid_t pid)
{
    uint64_t claim;
    return index < reader->header.slot_count && fetch_claim(reader, index, &claim) && claim &&
           FORKSAFE_CLAIM_PID(claim) == pid;
}

/* The three copies, as structures. */
struct copies {
    const struct forksafe_slot *before, *now, *after;
};

static const struct forksafe_record *record_of(const struct forksafe_slot *slot, uint32_t place)
{
    return (const struct forksafe_record *)(slot + 1) + place;
}

static bool fetch_copies(const struct fks_reader *reader, uint32_t index, struct copies *copies)
{
    size_t stride = reader->header.slot_stride;
    for (size_t i = 0; i < 3; i++)
        if (!fks_reader_fetch(reader, slot_offset(reader, index), reader->tables.slots + i * stride,
                              stride))
            return false;
    copies->before = (const struct forksafe_slot *)reader->tables.slots;
    copies->now = (const struct forksafe_slot *)(reader->tables.slots + stride);
    copies->after = (const struct forksafe_slot *)(reader->tables.slots + 2 * stride);
    return true;
}

/* Numbers that come from the file index tables of ours: none may be out of range. */
static bool is_possible(const struct forksafe_record *record)
{
    return record->event < FORKSAFE_EVENT_COUNT && record->role < FORKSAFE_ROLE_COUNT &&
           (record->ended & 0xff) < FORKSAFE_OUTCOME_COUNT;
}

static int by_number(const void *a, const void *b)
{
    uint64_t one = ((const struct forksafe_record *)a)->sequence;
    uint64_t other = ((const struct forksafe_record *)b)->sequence;
    return (one > other) - (one < other);
}

/* The oldest number that a ring with `last` as its newest still has. */
static uint64_t oldest_kept(uint64_t last, uint32_t records)
{
    return last > records ? last - records + 1 : 1;
}

static void take_records(struct fks_reader *reader, const struct copies *copies,
                         struct fks_reader_slot *out)
{
    uint32_t places = reader->header.records_per_slot;
    uint64_t known = copies->before->last_sequence, last = copies->after->last_sequence;
    uint64_t oldest = oldest_kept(last, places);
    uint32_t whole = 0; /* of the numbers that existed at the first look */
    out->records = reader->tables.records;
    out->record_count = out->torn = 0;
    for (uint32_t i = 0; i < places; i++) {
        const struct forksafe_record *record = record_of(copies->now, i);
        uint64_t sequence = record->sequence, number = sequence / 2;
        if (!sequence || sequence & 1 || sequence != record_of(copies->before, i)->sequence ||
            sequence != record_of(copies->after, i)->sequence)
            continue;
        if (number < oldest || number > last || (number - 1) % places != i || !is_possible(record))
            continue;
        out->records[out->record_count++] = *record;
        whole += number <= known;
    }
    if (known >= oldest && known - oldest + 1 > whole && known <= last)
        out->torn = (uint32_t)(known - oldest + 1 - whole);
    qsort(out->records, out->record_count, sizeof *out->records, by_number);
}

static void take_error(struct fks_reader *reader, const struct copies *copies,
                       struct fks_reader_slot *out)
{
    const struct forksafe_slot *slot = copies->now;
    uint32_t places = reader->header.records_per_slot;
    const char *area = (const char *)record_of(slot, places);
    size_t room = reader->header.slot_stride - (size_t)(area - (const char *)slot);
    out->error = NULL;
    if (!out->settled || !slot->error_length || slot->error_length > room ||
        slot->error_sequence & 1 || copies->before->error_sequence != slot->error_sequence ||
        copies->after->error_sequence != slot->error_sequence)
        return;
    memcpy(reader->tables.error, area, slot->error_length);
    reader->tables.error[slot->error_length] = '\0';
    out->error = reader->tables.error;
}

/* Returns 1 with three copies of one owner's slot, 0 where it never had one, -1 where the file went
 * away. */
static int fetch_slot(const struct fks_reader *reader, uint32_t index, struct copies *copies,
                      uint64_t *claim)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t after;
        if (!fetch_claim(reader, index, claim))
            return -1;
        if (!*claim)
            return 0;
        if (!fetch_copies(reader, index, copies) || !fetch_claim(reader, index, &after))
            return -1;
        if (FORKSAFE_CLAIM_OWNER(*claim) == FORKSAFE_CLAIM_OWNER(after))
            return 1;
    }
    return 1; /* it changes all the time; what is not settled is not believed */
}

int fks_reader_slot_read(struct fks_reader *reader, uint32_t index, struct fks_reader_slot *out,
                         struct fks_error *error)
{
    struct copies copies;
    uint64_t claim;
    memset(out, 0, sizeof *out);
    out->index = index;
    if (index >= reader->header.slot_count)
        return 0;
    int rc = fetch_slot(reader, index, &copies, &claim);
    if (rc < 0)
        return fks_reader_damaged(reader, "it became shorter", error);
    if (rc == 0)
        return 0;
    out->pid = FORKSAFE_CLAIM_PID(claim);
    out->settled = copies.before->owner == FORKSAFE_CLAIM_OWNER(claim) &&
                   copies.after->owner == copies.before->owner;
    if (out->settled)
        out->slot = *copies.now;
    out->slot.last_sequence = copies.now->last_sequence;
    take_records(reader, &copies, out);
    take_error(reader, &copies, out);
    out->alive = !(claim & FORKSAFE_CLAIM_RELEASED) &&
                 fks_reader_process_alive(reader, out->pid, out->slot.claimed);
    return 1;
}

bool fks_reader_record_is_owners(const struct fks_reader_slot *slot,
                                 const struct forksafe_record *record)
{
    return slot->settled && record->pid == slot->pid && record->begun >= slot->slot.claimed;
}

uint64_t fks_reader_overwritten(const struct fks_reader *reader, const struct fks_reader_slot *slot)
{
    uint64_t last = slot->slot.last_sequence;
    return last > reader->header.records_per_slot ? last - reader->header.records_per_slot : 0;
}

/* Whether two copies of a record agree byte for byte, but for `ended`: of a record that is written
 * nothing else changes, and that at once, so that both are whole then. */
static bool agree(const void *before, const void *now)
{
    size_t ended = offsetof(struct forksafe_record, ended), rest = ended + sizeof(uint64_t);
    return !memcmp(before, now, ended) &&
           !memcmp((const char *)before + rest, (const char *)now + rest,
                   sizeof(struct forksafe_record) - rest);
}

uint32_t fks_reader_records(struct fks_reader *reader, uint32_t index, uint64_t first,
                            uint32_t count, struct forksafe_record *out)
{
    struct forksafe_record before[FKS_READER_RUN];
    uint32_t places = reader->header.records_per_slot;
    if (index >= reader->header.slot_count || !first)
        return 0;
    uint32_t place = (uint32_t)((first - 1) % places);
    if (count > FKS_READER_RUN)
        count = FKS_READER_RUN;
    if (count > places - place)
        count = places - place; /* to the end of the ring */
    uint64_t at = slot_offset(reader, index) + sizeof(struct forksafe_slot) + place * sizeof *out;
    if (!fks_reader_fetch(reader, at, before, count * sizeof *before) ||
        !fks_reader_fetch(reader, at, out, count * sizeof *out))
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (out[i].sequence != 2 * (first + i) || !agree(&before[i], &out[i]) ||
            !is_possible(&out[i]))
            out[i].sequence = 0;
    return count;
}

bool fks_reader_record(struct fks_reader *reader, uint32_t index, uint64_t number,
                       struct forksafe_record *out)
{
    return fks_reader_records(reader, index, number, 1, out) && out->sequence;
}
