/* SPDX-License-Identifier: MIT
 *
 * The writing side of a journal (journal_layout.h is the format): made in the master, written by
 * all its processes without locks. After fks_journal_open nothing here opens, allocates or blocks;
 * a journal that fails costs no hook.
 */
#ifndef FKS_JOURNAL_H
#define FKS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "error.h"
#include "forksafe/journal_layout.h"

/* What this process knows of its journal; private memory, set up before the fork and inherited. */
struct fks_journal;

struct fks_journal_spec {
    /* instance, runtime_dir, max_workers, records, journal, journal_keep, journal_group */
    const struct fks_config *config;
    const char *ini, *app, *container, *server_version;
    pid_t master;     /* 0: the calling process */
    uid_t worker_uid; /* (uid_t)-1: leave the owner */
    gid_t worker_gid;
    uint32_t subscribers; /* how many there are now; the table gets room for at least twice as many,
                             never under 256 */
};

/* Makes the master's journal, or finds the one it already has (a re-executed master has the same
 * pid and start time; a sibling may have been faster) and goes on with it, generation kept. Made
 * under a temporary name, its blocks allocated, then put into place where nothing stands; keeps no
 * descriptor. Prunes journals of dead masters beyond journal_keep. Master only, blocks on the file
 * system.
 *
 * Returns 0 with a file. FORKSAFE_EJOURNAL or FORKSAFE_EACCESS, and *error says why, where no file
 * can be had: *out is valid all the same, an anonymous shared map (of 64 slots where memory is
 * short); or, where fks_journal_path gives a path, as a warning: the file is not its group's.
 * FORKSAFE_ENOMEM with *out NULL.
 *
 * What stands under the name already: this master's journal is gone on with if its sizes suit. A
 * changed max_workers or records does not: the former file is renamed to
 * <pid>-<start ticks>-<time>.journal, marked closed, and counts as a dead master's. A symbolic
 * link, a FIFO, a file with two names, of another user, writable by others or that is no journal is
 * refused. At a fixed `journal` path a dead master's journal is replaced, a living one's refused.
 */
int fks_journal_open(struct fks_journal **out, const struct fks_journal_spec *spec,
                     struct fks_error *error);

/* Unmaps; the file stays for `forksafe debug --previous`. NULL is harmless. */
void fks_journal_close(struct fks_journal *journal);

/* Path of the file; NULL for an anonymous map. Borrowed. */
const char *fks_journal_path(const struct fks_journal *journal);

/* The mapped journal, for readers in this process. */
const struct forksafe_journal_header *fks_journal_header(const struct fks_journal *journal);

/* Bytes of the map, as this process knows them. */
size_t fks_journal_size(const struct fks_journal *journal);

/* Master, at each successful open: generation up by one (from 0 to 1 at the first). Returns the new
 * one. */
uint32_t fks_journal_next_generation(struct fks_journal *journal);

/* Master: finds or adds the hook. Returns its index, or FORKSAFE_NO_SUBSCRIBER where the table is
 * full. */
uint32_t fks_journal_add_hook(struct fks_journal *journal, const char *name,
                              enum forksafe_event event);

/* Master: what the table says of a subscriber. Strings are borrowed for the call. */
struct fks_journal_subscriber {
    const char *name, *path;
    uint32_t line;
    enum forksafe_event event;
    uint32_t hook;
    int32_t order;
    enum fks_on_error on_error;
    uint64_t hash, mtime_ns;
};

/* Master: finds the subscriber by event and name, or adds it, and writes it under the current
 * generation; its counters go on. Returns its index, or FORKSAFE_NO_SUBSCRIBER where the table or
 * the strings are full (counted). */
uint32_t fks_journal_add_subscriber(struct fks_journal *journal,
                                    const struct fks_journal_subscriber *subscriber);

/* Master: as forksafe_status. */
void fks_journal_status(struct fks_journal *journal, const char *status, const char *environment,
                        const char *line);

/* A text as it would stand among the status lines: one line, cut visibly where it is too long. */
void fks_journal_text(char place[FORKSAFE_STATUS_TEXT], const char *text);

/* Master, at its fork point: marks slots of processes that are gone (kill(pid, 0) and claim time)
 * and leaves a hint where the next child finds a free slot; slots never used first, then the
 * longest dead. No more than 64 slots are looked at in one call. Async-signal-safe. */
void fks_journal_sweep(struct fks_journal *journal);

/* Any process, first thing: makes sure it has a slot of its own (claimed by compare-and-swap, keyed
 * by pid), and writes role, worker and flags into it. Cheap when it has one. Without a free slot:
 * counted once as refused, and what follows is counted but not recorded. */
void fks_journal_claim(struct fks_journal *journal, const struct forksafe_occasion *occasion);

/* This process's role, where it is another one from now on. False: it has no slot.
 * Async-signal-safe. */
bool fks_journal_role(struct fks_journal *journal, enum forksafe_role role);

/* Whether no process has ever recorded anything in it. */
bool fks_journal_is_unused(const struct fks_journal *journal);

/* This process's state. */
void fks_journal_state(struct fks_journal *journal, enum forksafe_state state);

/* Counts that a hook fired, and when for the first time. Any process. */
void fks_journal_fire(struct fks_journal *journal, uint32_t hook);

/* A run that has begun: filled by begin, for end and error. On the caller's stack. */
struct fks_run {
    uint32_t hook, subscriber; /* set by the caller; subscriber may be FORKSAFE_NO_SUBSCRIBER */
    enum forksafe_event event; /* set by the caller */
    const struct forksafe_occasion *occasion; /* set by the caller; borrowed */
    uint64_t begun;                           /* CLOCK_BOOTTIME; set by begin */
    struct forksafe_record *record;           /* NULL without a slot; set by begin */
    uint64_t number;                          /* of the record in its slot; set by begin */
};

/* Writes the record as begun, and counts. */
void fks_journal_begin(struct fks_journal *journal, struct fks_run *run);

/* Ends it: one store in the record, counters, histogram. Returns how often the subscriber's runs
 * have ended like that, this one counted: each number once; 0 where it is not counted. */
uint64_t fks_journal_end(struct fks_journal *journal, struct fks_run *run,
                         enum forksafe_outcome outcome);

/* Runs of a subscriber (its index) that ended like that, in all processes and generations. */
uint64_t fks_journal_ended(const struct fks_journal *journal, uint32_t subscriber,
                           enum forksafe_outcome outcome);

/* Keeps an error text with its traceback in this process's error area. Before or after end. */
void fks_journal_error(struct fks_journal *journal, const struct fks_run *run, const char *text,
                       size_t length);

/* Master: how a child ended, into its slot and the header's counters. exit_status -1 where `signal`
 * ended it. */
void fks_journal_child_exit(struct fks_journal *journal, pid_t pid, int exit_status, int signal);

/* CLOCK_BOOTTIME in ns: the one time source. */
uint64_t fks_now(void);

#endif
