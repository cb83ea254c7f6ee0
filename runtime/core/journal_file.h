/* SPDX-License-Identifier: MIT
 *
 * One journal file on the writing side: its sizes, its header, whether one that was found can be
 * gone on with, and which old ones go. Master only, before the first fork; blocks on the file
 * system.
 */
#ifndef FKS_JOURNAL_FILE_H
#define FKS_JOURNAL_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "journal_private.h"

/* Sizes of a journal. */
struct fks_geometry {
    uint32_t slots, stride, records, hooks, subscribers, strings;
};

/* Rounds up to what a reader accepts; the default slot is one page. Returns 0, or -1 where it is
 * too large for a journal. */
int fks_geometry_init(struct fks_geometry *geometry, uint32_t slots, uint32_t records,
                      uint32_t subscribers);

/* Whose journal it is: no two masters of one machine share all of this. */
struct fks_file_identity {
    uint8_t boot_id[16];
    pid_t master_pid;
    uint64_t master_start_ticks;
};

void fks_identity_init(struct fks_file_identity *identity, pid_t master);

/* Makes `fd` (a new, empty file; -1: an anonymous map) a journal and maps it into *journal. The
 * blocks of its tables and of the first 64 slots are there before it is mapped, those of another
 * slot before it is claimed: a full file system is an error here, or a process without a slot, and
 * never a SIGBUS.
 * Returns 0, or -1 with errno. */
int fks_file_fill(struct fks_journal *journal, int fd, const struct fks_geometry *geometry,
                  const struct fks_file_identity *identity);

/* Maps a found file, which must be of this version and large enough. Returns 0; -1 where it does
 * not suit. */
int fks_file_adopt(struct fks_journal *journal, int fd, const struct fks_geometry *geometry);

void fks_file_unmap(struct fks_journal *journal);

/* A file that stands where a journal belongs. */
struct fks_found {
    int fd;          /* -1: none (errno says why); the caller closes it */
    bool is_journal; /* of whatever version */
    bool is_ours;    /* of this master, and in use */
    bool is_alive;   /* its master lives and uses it */
    pid_t master_pid;
};

/* Opens <directory>/<name> where it is a plain file of ours, root's or `uid`'s with one name, that
 * nobody else can write to. Returns NULL, or why it is not touched ("is a symbolic link"). */
const char *fks_file_find(struct fks_found *found, int directory, const char *name,
                          const struct fks_file_identity *identity, uid_t uid);

/* Says in the file that its master has another one now. */
void fks_file_mark_closed(int fd);

/* Removes journals of dead masters but the newest `keep`, and what killed masters left half made.
 * `own` stays. */
void fks_file_prune(int directory, const char *own, uint32_t keep);

#endif
