/* SPDX-License-Identifier: MIT
 *
 * What the two files of the journal's reading side share.
 */
#ifndef FKS_READER_PRIVATE_H
#define FKS_READER_PRIVATE_H

#include "reader.h"

/* Copies of what one refresh read, and the buffers for one slot. */
struct fks_tables {
    struct forksafe_hook *hooks;
    struct forksafe_subscriber *subscribers;
    struct forksafe_cell *cells;
    char *strings;
    struct forksafe_status_area status;
    struct forksafe_finding_area findings;
    struct forksafe_leader leaders[FORKSAFE_MAX_LEADERS];
    char *slots; /* three copies of one slot */
    struct forksafe_record *records;
    char *error; /* one error text */
};

struct fks_reader {
    int fd;             /* -1: `mapped` */
    const char *mapped; /* borrowed; NULL: the file */
    size_t mapped_size;
    char *path;
    uint8_t boot_id[16];
    struct forksafe_journal_header header;
    struct fks_tables tables;
};

/* Copies bytes of the journal; false where they are not there. */
bool fks_reader_fetch(const struct fks_reader *reader, uint64_t offset, void *to, size_t size);

/* The error for a journal that cannot be true. */
int fks_reader_damaged(const struct fks_reader *reader, const char *what, struct fks_error *error);

#endif
