/* SPDX-License-Identifier: MIT
 *
 * Reading processes without their records (ps_rows.h). The claims are read before and after the
 * slots: a claim never looks like an earlier one, so where both agree the slot had one owner all
 * the time.
 */
#include "ps_rows.h"

#include <stdlib.h>
#include <string.h>

static bool add_row(struct fks_ps_rows *rows, const struct fks_ps_row *row)
{
    if (rows->count == rows->room) {
        size_t room = rows->room ? rows->room * 2 : 64;
        struct fks_ps_row *more = realloc(rows->items, room * sizeof *more);
        if (!more)
            return false;
        rows->items = more;
        rows->room = room;
    }
    rows->items[rows->count++] = *row;
    return true;
}

/* Whether the slot's owner is to be shown. False also where the file went away. */
static bool read_head(const struct fks_reader *reader, uint32_t index, uint64_t claim, bool all,
                      struct fks_reader_slot *out)
{
    bool released = claim & FORKSAFE_CLAIM_RELEASED;
    *out = (struct fks_reader_slot){.index = index, .pid = FORKSAFE_CLAIM_PID(claim)};
    if (!claim || (released && !all) || !fks_reader_slot_head(reader, index, &out->slot))
        return false;
    out->settled = out->slot.owner == FORKSAFE_CLAIM_OWNER(claim);
    if (!out->settled)
        out->slot = (struct forksafe_slot){0};
    out->alive = !released && fks_reader_process_alive(reader, out->pid, out->slot.claimed);
    return out->alive || all;
}

/* The slots that have another owner than they had when their heads were read, or a released one:
 * read again, in full. */
static bool read_changed(struct fks_reader *reader, struct fks_ps_row *row, bool all)
{
    struct fks_reader_slot slot;
    if (fks_reader_slot_read(reader, row->slot.index, &slot, NULL) <= 0)
        return false;
    row->slot = slot;
    row->slot.records = NULL;
    row->slot.error = NULL;
    return slot.alive || all;
}

/* Of the rows from `from` on: those whose claim is another one by now. */
static void settle_changed(struct fks_ps_rows *rows, size_t from, struct fks_reader *reader,
                           const uint64_t *before, const uint64_t *after, bool all)
{
    size_t kept = from;
    for (size_t i = from; i < rows->count; i++) {
        uint32_t index = rows->items[i].slot.index;
        if (before[index] != after[index] && !read_changed(reader, &rows->items[i], all))
            continue;
        rows->items[kept++] = rows->items[i];
    }
    rows->count = kept;
}

static int add_reader(struct fks_ps_rows *rows, const struct fks_target *target, size_t which,
                      bool all, struct fks_error *error)
{
    struct fks_reader *reader = target->readers[which];
    uint32_t count = fks_reader_header(reader)->slot_count;
    uint64_t *claims = calloc(2 * (size_t)count, sizeof *claims);
    size_t from = rows->count;
    bool whole = claims && fks_reader_claims(reader, claims, count);
    bool is_there = !claims || whole;
    for (uint32_t i = 0; whole && i < count; i++) {
        struct fks_ps_row row = {.target = target, .reader = which};
        if (read_head(reader, i, claims[i], all, &row.slot))
            whole = add_row(rows, &row);
    }
    if (whole && fks_reader_claims(reader, claims + count, count))
        settle_changed(rows, from, reader, claims, claims + count, all);
    free(claims);
    if (!is_there)
        return fks_fail(error, FORKSAFE_EJOURNAL,
                        "%s: is damaged (it became shorter); remove it, or look at another journal",
                        fks_reader_path(reader));
    return whole ? 0 : fks_fail(error, FORKSAFE_ENOMEM, "no memory for the processes");
}

int fks_ps_rows_add(struct fks_ps_rows *rows, const struct fks_target *target, bool all,
                    struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < target->reader_count; i++)
        rc =
            add_reader(rows, target, i, all || !fks_reader_master_alive(target->readers[i]), error);
    return rc;
}

static int compare(uint64_t one, uint64_t other)
{
    return (one > other) - (one < other);
}

static int in_order(const void *a, const void *b)
{
    const struct fks_ps_row *one = a, *other = b;
    const struct forksafe_slot *left = &one->slot.slot, *right = &other->slot.slot;
    int order = strcmp(one->target->instance, other->target->instance);
    if (!order)
        order = compare(one->reader, other->reader);
    if (!order)
        order = (right->role == FORKSAFE_ROLE_MASTER) - (left->role == FORKSAFE_ROLE_MASTER);
    if (!order)
        order = compare((uint32_t)left->worker - 1, (uint32_t)right->worker - 1); /* none: last */
    if (!order)
        order = compare(left->claimed, right->claimed);
    return order ? order : compare(one->slot.index, other->slot.index);
}

void fks_ps_rows_sort(struct fks_ps_rows *rows)
{
    if (rows->count)
        qsort(rows->items, rows->count, sizeof *rows->items, in_order);
}

void fks_ps_rows_finish(struct fks_ps_rows *rows)
{
    free(rows->items);
}
