/* SPDX-License-Identifier: MIT
 *
 * What has to be known of all journals of an instance before its debug object can be written as a
 * stream: which processes and records there are and in which order, and the hooks and subscribers
 * of all masters, merged. Small: references, not copies.
 */
#ifndef FKS_DEBUG_GATHER_H
#define FKS_DEBUG_GATHER_H

#include "debug.h"
#include "reader.h"

struct fks_process_ref {
    uint64_t claimed;
    uint32_t slot, reader;
};

struct fks_record_ref {
    uint64_t begun, number;
    uint32_t slot;
    uint16_t reader;
    bool live; /* its process lives: begun and not ended means running */
};

/* A hook of one or more masters. */
struct fks_hook_sum {
    struct fks_reader *reader; /* whose strings the name is of */
    struct forksafe_hook hook; /* runs added up, the earliest first_run */
};

/* A subscriber of one or more masters: described as the newest of them has it, counters added up.
 */
struct fks_subscriber_sum {
    uint32_t reader, index;
    struct forksafe_cell cell;
};

struct fks_gathered {
    const struct fks_debug_view *view;
    struct fks_reader *const *readers;
    size_t reader_count;
    struct fks_losses {
        uint64_t overwritten, torn;
    } * losses;                        /* records, of each reader */
    struct fks_process_ref *processes; /* oldest first */
    size_t process_count;
    struct fks_record_ref *records; /* oldest first */
    size_t record_count, record_room, process_room;
    struct fks_hook_sum *hooks; /* as registered, the oldest master's first */
    size_t hook_count;
    struct fks_subscriber_sum *subscribers; /* as registered */
    size_t subscriber_count;
};

/* Reads all journals once. The readers are borrowed. Returns 0, or FORKSAFE_ENOMEM; *out is for
 * finish either way. A journal that becomes unreadable meanwhile counts as far as it was read. */
int fks_gathered_init(struct fks_gathered *out, struct fks_reader *const *readers, size_t count,
                      struct fks_error *error);

/* The same, with only the records of a view; it is borrowed as long as *out is used. */
int fks_gathered_init_view(struct fks_gathered *out, const struct fks_debug_view *view,
                           struct fks_reader *const *readers, size_t count,
                           struct fks_error *error);

void fks_gathered_finish(struct fks_gathered *gathered);

#endif
