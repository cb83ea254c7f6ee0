/* SPDX-License-Identifier: MIT
 *
 * The reading side of a journal: copy, then validate. Reads with pread (no map: nobody's truncation
 * can kill us), or from the memory of the process that has it mapped. Trusts nothing: every offset,
 * count and string is checked. Runs in the commands, and in a host when its own debug object is
 * asked for.
 */
#ifndef FKS_READER_H
#define FKS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "forksafe/journal_layout.h"

struct fks_reader;

/* Opens a journal file. Returns 0 and *out for fks_reader_close; FORKSAFE_ENOENT, FORKSAFE_EACCESS,
 * FORKSAFE_EVERSION (another version of the format) or FORKSAFE_EJOURNAL (not a journal, or a
 * damaged one) with a line that names the file. */
int fks_reader_open(struct fks_reader **out, const char *path, struct fks_error *error);

/* The same over the journal mapped in this process. `size` is the map's: what the header says may
 * have been written by anybody who has it mapped too. `path` may be NULL. */
int fks_reader_over(struct fks_reader **out, const struct forksafe_journal_header *mapped,
                    size_t size, const char *path, struct fks_error *error);

/* NULL is harmless. */
void fks_reader_close(struct fks_reader *reader);

/* The checked copy of the header, taken at open (or the last refresh); borrowed. */
const struct forksafe_journal_header *fks_reader_header(const struct fks_reader *reader);
const char *fks_reader_path(const struct fks_reader *reader);

/* Reads header and tables again. Returns as open. */
int fks_reader_refresh(struct fks_reader *reader, struct fks_error *error);

/* Copies of table entries; index below the header's counts. NULL where it is out of range. Borrowed
 * until refresh. */
const struct forksafe_hook *fks_reader_hook(const struct fks_reader *reader, uint32_t index);
const struct forksafe_subscriber *fks_reader_subscriber(const struct fks_reader *reader,
                                                        uint32_t index);
const struct forksafe_cell *fks_reader_cell(const struct fks_reader *reader, uint32_t index);

/* A leader, index below FORKSAFE_MAX_LEADERS; NULL where that place was never used. Likewise. */
const struct forksafe_leader *fks_reader_leader(const struct fks_reader *reader, uint32_t index);

/* A string of the strings area; never NULL, cut to what is there. Borrowed until refresh; not
 * NUL-terminated: *length. */
const char *fks_reader_string(const struct fks_reader *reader, struct forksafe_string string,
                              size_t *length);

/* Status and autoconfigure log, copied: every text NUL-terminated, line_count as written. Borrowed
 * until refresh. */
const struct forksafe_status_area *fks_reader_status(const struct fks_reader *reader);

/* What the audit found, copied: at most FORKSAFE_FINDINGS, every text NUL-terminated; zeros where
 * the journal has none. Borrowed until refresh. */
const struct forksafe_finding_area *fks_reader_findings(const struct fks_reader *reader);

/* One slot, copied: the process, its valid records oldest first (torn ones left out and counted),
 * its error text. */
struct fks_reader_slot {
    uint32_t index;
    pid_t pid;    /* of the owner */
    bool settled; /* false: claimed, but the owner has not written the rest yet; `slot` is zeros but
                     for last_sequence */
    struct forksafe_slot slot;
    struct forksafe_record *records; /* the reader's buffer, until the next fks_reader_slot_read */
    uint32_t record_count, torn; /* they may be a former owner's: see fks_reader_record_is_owners */
    const char *error;           /* NUL-terminated; NULL: none, or it was being written */
    bool alive; /* same boot, /proc/PID there and started no later than the claim */
};

/* Reads slot `index` (below slot_count) into *out. Returns 1 for a slot that has an owner, dead or
 * alive, 0 for one that never had, negative as open where the file went away. */
int fks_reader_slot_read(struct fks_reader *reader, uint32_t index, struct fks_reader_slot *out,
                         struct fks_error *error);

/* Whether a record of the slot is its owner's own, and not a former owner's that is still there. */
bool fks_reader_record_is_owners(const struct fks_reader_slot *slot,
                                 const struct forksafe_record *record);

/* How many records of the slot were overwritten, all owners together. */
uint64_t fks_reader_overwritten(const struct fks_reader *reader,
                                const struct fks_reader_slot *slot);

/* One record again, by its slot and number. False where it was overwritten or is being written. */
bool fks_reader_record(struct fks_reader *reader, uint32_t index, uint64_t number,
                       struct forksafe_record *out);

/* Several records again, by their slot and consecutive numbers: fewer than `count` where the ring
 * ends before, or where it is more than FKS_READER_RUN. Returns how many were looked at, 0: the
 * file went away. One that was overwritten or is being written has `sequence` 0. */
#define FKS_READER_RUN 32
uint32_t fks_reader_records(struct fks_reader *reader, uint32_t index, uint64_t first,
                            uint32_t count, struct forksafe_record *out);

/* For those who look again and again: what shows cheaply whether slots have changed. The claims of
 * the first `count` slots (0: never used); the fixed part of one slot, copied once and not
 * validated. False where the file went away, or never had so many. */
bool fks_reader_claims(const struct fks_reader *reader, uint64_t *claims, uint32_t count);
bool fks_reader_slot_head(const struct fks_reader *reader, uint32_t index,
                          struct forksafe_slot *head);

/* Whether the process that claimed something at `claimed` lives; 0: when is not known. */
bool fks_reader_process_alive(const struct fks_reader *reader, pid_t pid, uint64_t claimed);

/* Whether slot `index` was ever claimed by `pid`, as far as is still known. */
bool fks_reader_slot_is_of(struct fks_reader *reader, uint32_t index, pid_t pid);

/* Whether it reads this process's own map: then nothing here opens a file, and whether a process
 * lives is asked with kill(). */
bool fks_reader_is_mapped(const struct fks_reader *reader);

/* Whether the journal's master lives (same boot, pid and start time), and has no other journal by
 * now. */
bool fks_reader_master_alive(const struct fks_reader *reader);

#endif
