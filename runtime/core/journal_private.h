/* SPDX-License-Identifier: MIT
 *
 * What the files of the journal's writing side share: the private struct (set up in the master,
 * inherited by every child) and the way to a slot.
 */
#ifndef FKS_JOURNAL_PRIVATE_H
#define FKS_JOURNAL_PRIVATE_H

#include "journal.h"

struct fks_journal {
    /* Of this process; a child writes these once. Valid only while `pid` is the calling process's.
     */
    pid_t pid;
    struct forksafe_slot *slot; /* NULL: there was none to be had */
    uint32_t generation;        /* that this process runs; the header's is the master's */

    /* The same in all processes. Sizes are kept here since what stands in the map could be
     * scribbled over by a worker. */
    struct forksafe_journal_header *header;
    struct forksafe_hook *hooks;
    struct forksafe_cell *cells;
    uint64_t *claims;
    struct forksafe_status_area *status;
    struct forksafe_subscriber *subscribers;
    char *strings;
    struct forksafe_finding_area *findings;
    struct forksafe_leader *leaders;
    char *slots;
    uint32_t slot_count, slot_stride, records, hook_capacity, subscriber_capacity, strings_size;
    uint32_t slots_there; /* the first ones, whose blocks the file has had from the beginning */
    size_t error_size;    /* bytes of a slot's error area */
    uint32_t swept;       /* master: where the next sweep goes on */
    size_t size;          /* of the map */
    char *path;           /* NULL: an anonymous map */
};

#define FKS_LOAD(place)         __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define FKS_STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define FKS_ADD(place, value)   __atomic_add_fetch(&(place), (value), __ATOMIC_RELAXED)
#define FKS_CAS(place, old, new_) \
    __atomic_compare_exchange_n(&(place), &(old), (new_), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

static inline struct forksafe_slot *fks_slot_at(const struct fks_journal *journal, uint32_t index)
{
    return (struct forksafe_slot *)(journal->slots + (size_t)index * journal->slot_stride);
}

static inline struct forksafe_record *fks_slot_records(struct forksafe_slot *slot)
{
    return (struct forksafe_record *)(slot + 1);
}

/* Makes sure that memory that is mapped to a file has its blocks, so that writing to it is no
 * SIGBUS. Returns false where the file system has none left, or the kernel cannot tell (Linux
 * before 5.14); `size` 0 asks that alone. One system call. Async-signal-safe. journal_file.c */
bool fks_map_populate(void *at, size_t size);

/* Puts a text into the strings area, or finds it there; {0, 0} for NULL, an empty one, or where it
 * is full. journal_table.c */
struct forksafe_string fks_journal_intern(struct fks_journal *journal, const char *text);

/* Whether that string of the strings area is this text. journal_table.c */
bool fks_journal_string_is(const struct fks_journal *journal, struct forksafe_string string,
                           const char *text, size_t length);

/* Takes and gives back the right to add to the tables: two processes that open one journal at the
 * same time take turns. Waits at most 200 ms for a living process, then goes ahead. Master.
 * journal_table.c */
void fks_journal_tables_enter(struct fks_journal *journal);
void fks_journal_tables_leave(struct fks_journal *journal);

/* Length of the longest beginning of at most `limit` bytes that cuts no UTF-8 sequence. */
size_t fks_whole_characters(const char *text, size_t limit);

#endif
